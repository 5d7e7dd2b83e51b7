"""Code that runs in the other systems' environment: it may import only the standard library and those systems."""
