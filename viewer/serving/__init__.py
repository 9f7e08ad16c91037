"""Serve the application over HTTP: a worker for gunicorn.

worker      the loop, its threads, its clock
connection  what came in of a request, what is to go out of its response
limits      how long a client may take
lanes       which of the viewer's requests have threads of their own
"""
