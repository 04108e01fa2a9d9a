#!/bin/sh
echo "starting on port $PORT"
exec gunicorn --bind "0.0.0.0:$PORT" app:app
