"""Pictures: uploaded, shown as thumbnails, kept on the volume."""

from pathlib import Path
from uuid import uuid4

from flask import Blueprint, Response, abort, redirect, render_template, request, send_from_directory, url_for
from PIL import Image, UnidentifiedImageError
from werkzeug import Response as Redirect

blueprint = Blueprint("pictures", __name__, url_prefix="/pictures")
FOLDER = Path("/data")
LONGEST_SIDE = 200
MAX_PIXELS = 20_000_000


@blueprint.get("")
def index() -> str:
    """Show all thumbnails."""
    return render_template("pictures.html", names=sorted(path.stem for path in FOLDER.glob("*.jpg")))


@blueprint.post("")
def add() -> Redirect:
    """Keep the thumbnail of a picture. What unpacks to more than the memory is refused before it does."""
    try:
        with Image.open(request.files["picture"].stream, formats=["JPEG", "PNG"]) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                abort(422, "the picture has too many pixels")
            picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            picture.convert("RGB").save(FOLDER / f"{uuid4().hex}.jpg")
    except (UnidentifiedImageError, OSError):
        abort(422, "this is no picture in JPEG or PNG")
    return redirect(url_for(".index"), 303)


@blueprint.get("/<name>.jpg")
def show(name: str) -> Response:
    """Send a thumbnail."""
    return send_from_directory(FOLDER, f"{name}.jpg")
