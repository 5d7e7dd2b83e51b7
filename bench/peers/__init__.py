"""Compares Greenroom with other task queues, each set up as its documentation says, measured in turn."""
