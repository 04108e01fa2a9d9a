#!/bin/sh
echo "starting on port $PORT"
gunicorn --bind "0.0.0.0:$PORT" app:app
