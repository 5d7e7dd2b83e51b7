"""Benchmarks: what Greenroom costs on this machine, compared with well-known programs. No benchmark fails a build."""
