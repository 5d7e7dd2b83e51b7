"""Greenroom beside other people's task queues, each as its own documents would have it run, in the same minutes."""
