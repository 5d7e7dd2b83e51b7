"""The use cases: load, decide, save, publish. One function and one transaction each; must not know HTTP."""
