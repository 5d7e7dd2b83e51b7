"""The use cases: one function and one transaction each, which load, decide, save and publish. Must not know HTTP."""
