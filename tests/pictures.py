"""Pictures for tests and benchmarks: distinct ones of many kinds, low-texture ones among them, and their copies."""

import io
import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
import sklearn
from PIL import Image, ImageDraw, ImageFont

_DATA = Path(mpl.get_data_path())
_FONTS = ("DejaVuSans", "DejaVuSerif-Bold", "DejaVuSansMono", "DejaVuSans-BoldOblique", "cmtt10")
_WORDS = [
    "sale",
    "winter",
    "photo",
    "market",
    "river",
    "house",
    "garden",
    "music",
    "football",
    "cheap",
    "ticket",
    "hotel",
    "beach",
    "cat",
    "dog",
    "mountain",
    "recipe",
    "free",
    "online",
    "school",
    "car",
    "engine",
    "news",
    "report",
    "light",
    "city",
    "tower",
    "old",
    "new",
    "red",
    "blue",
    "green",
    "summer",
    "menu",
    "price",
    "order",
    "contact",
    "team",
]
_PHOTOS = (
    Path(sklearn.__file__).parent / "datasets/images/china.jpg",
    Path(sklearn.__file__).parent / "datasets/images/flower.jpg",
    _DATA / "sample_data/grace_hopper.jpg",
)
_LEAST_DEVIATION = 16  # grey levels
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def _size(rng):
    width = int(rng.integers(160, 641))
    return width, int(width * rng.uniform(0.6, 1.5))


def colour(rng):
    """Any."""
    return tuple(int(level) for level in rng.integers(0, 256, 3))


def _font(rng, size):
    return ImageFont.truetype(str(_DATA / f"fonts/ttf/{_FONTS[rng.integers(len(_FONTS))]}.ttf"), int(size))


def _words(rng, count):
    return " ".join(_WORDS[index] for index in rng.integers(0, len(_WORDS), count))


def _between(shares, rng):
    """Two colours, mixed by shares in [0, 1] of any range."""
    shares = (shares - shares.min()) / (np.ptp(shares) + 1e-9)
    first, last = np.array(colour(rng)), np.array(colour(rng))
    return Image.fromarray((first + (last - first) * shares[..., None]).astype(np.uint8))


def texture(rng):
    """Noise of some smoothness."""
    width, height = _size(rng)
    frequency = np.hypot(np.fft.fftfreq(width)[None] * rng.uniform(0.5, 2), np.fft.fftfreq(height)[:, None])
    frequency[0, 0] = 1
    noise = np.fft.fft2(rng.normal(size=(height, width))) / frequency ** rng.uniform(0.5, 1.6)
    return _between(np.fft.ifft2(noise).real, rng)


def shapes(rng):
    """Ellipses, boxes and polygons over each other."""
    width, height = _size(rng)
    image = Image.new("RGB", (width, height), colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(2, 14)):
        left, top = rng.integers(-40, width), rng.integers(-40, height)
        box = (left, top, left + rng.integers(20, width), top + rng.integers(20, height))
        match rng.integers(3):
            case 0:
                draw.ellipse(box, fill=colour(rng))
            case 1:
                draw.rectangle(box, fill=colour(rng))
            case _:
                corners = rng.uniform(0, 1, (rng.integers(3, 7), 2)) * (width, height)
                draw.polygon([tuple(corner) for corner in corners], fill=colour(rng))
    return image


def text(rng):
    """A page of lines, dark on light or light on dark."""
    width, height = _size(rng)
    paper, ink = (int(rng.integers(225, 256)), 20) if rng.random() < 0.7 else (int(rng.integers(60)), 240)
    image = Image.new("RGB", (width, height), (paper, paper, paper))
    draw, size = ImageDraw.Draw(image), int(rng.integers(12, 60))
    font, top = _font(rng, size), int(rng.integers(5, 30))
    while top < height - size:
        line = _words(rng, rng.integers(1, 2 + max(1, width // size // 3)))
        draw.text((rng.integers(5, 30), top), line, font=font, fill=(ink, ink, ink))
        top += int(size * rng.uniform(1.1, 1.8))
    return image


def word(rng):
    """One or two words in the middle of one colour: little structure."""
    width, height = _size(rng)
    paper = (WHITE, WHITE, BLACK, colour(rng))[rng.integers(4)]
    ink = tuple(255 - level for level in paper) if rng.random() < 0.5 else colour(rng)
    image = Image.new("RGB", (width, height), paper)
    font = _font(rng, rng.integers(20, 80))
    ImageDraw.Draw(image).text(
        (width / 2, height / 2), _words(rng, rng.integers(1, 3)), font=font, fill=ink, anchor="mm"
    )
    return image


def gradient(rng):
    """Linear, round or twisted: no structure."""
    width, height = _size(rng)
    y, x = np.mgrid[0:height, 0:width] / np.array([[[height]], [[width]]])
    match rng.integers(3):
        case 0:
            angle = rng.uniform(0, 2 * math.pi)
            shares = math.cos(angle) * x + math.sin(angle) * y
        case 1:
            shares = np.hypot(x - rng.random(), y - rng.random())
        case _:
            shares = (x - rng.random()) * (y - rng.random())
    return _between(shares, rng)


def faint(rng):
    """A gradient with weak, soft blots."""
    image = gradient(rng)
    blots = rng.normal(size=rng.integers(3, 9, 2)).astype(np.float32)
    soft = np.asarray(Image.fromarray(blots).resize(image.size, Image.Resampling.BICUBIC)) * rng.uniform(3, 20)
    return Image.fromarray(np.clip(np.asarray(image) + soft[..., None], 0, 255).astype(np.uint8))


def product(rng):
    """Something cut out on white, with a margin of its own."""
    width, height = _size(rng)
    image, margin = Image.new("RGB", (width, height), WHITE), rng.uniform(0.03, 0.3)
    inner = (int(width * (1 - 2 * margin)), int(height * (1 - 2 * margin)))
    thing = (texture, shapes, faint)[rng.integers(3)](rng).resize(inner)
    mask = Image.new("L", inner, 0)
    draw = ImageDraw.Draw(mask)
    if rng.random() < 0.5:
        draw.ellipse((0, 0, inner[0] - 1, inner[1] - 1), fill=255)
    else:
        draw.polygon([tuple(corner) for corner in rng.uniform(0, 1, (11, 2)) * inner], fill=255)
    image.paste(thing, (int(width * margin), int(height * margin)), mask)
    return image


def chart(rng):
    """Lines or bars between two axes on white."""
    width, height = _size(rng)
    image = Image.new("RGB", (width, height), WHITE)
    draw, left, bottom = ImageDraw.Draw(image), int(width * 0.1), int(height * 0.88)
    draw.line((left, 10, left, bottom, width - 10, bottom), fill=BLACK, width=2)
    if rng.random() < 0.5:
        for _ in range(rng.integers(1, 4)):
            level = np.clip(rng.uniform(0.2, 0.8) + np.cumsum(rng.normal(0, 0.06, 40)), 0.03, 0.97)
            points = np.stack([np.linspace(left, width - 10, 40), 10 + level * (bottom - 10)], axis=1)
            draw.line([tuple(point) for point in points], fill=colour(rng), width=int(rng.integers(1, 4)))
    else:
        bars, fill = rng.random(rng.integers(3, 12)), colour(rng)
        step = (width - left - 15) / len(bars)
        for bar, share in enumerate(bars):
            start = left + 5 + bar * step
            draw.rectangle((start, 10 + share * (bottom - 12), start + 0.7 * step, bottom), fill=fill)
    return image


def blank(rng):
    """One colour."""
    return Image.new("RGB", _size(rng), colour(rng))


KINDS = {made.__name__: made for made in (texture, shapes, text, word, gradient, faint, product, chart, blank)}
LOW_TEXTURE = ("gradient", "faint", "blank")


def photos():
    """Pieces of the photographs that installed packages carry, in grids of 1 to 6 a side.

    Without pieces of nothing but sky, which look the same.
    """
    for path in _PHOTOS:
        photo = Image.open(path).convert("RGB")
        for side in range(1, 7):
            width, height = photo.width // side, photo.height // side
            for index in range(side * side):
                left, top = index % side * width, index // side * height
                piece = photo.crop((left, top, left + width, top + height))
                if np.asarray(piece.convert("L")).std() > _LEAST_DEVIATION:
                    yield piece


def encoded(image, *, quality=92):
    """A JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def lossless(image):
    """A PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def scaled(image, factor):
    """Resized."""
    size = tuple(max(1, round(side * factor)) for side in image.size)
    return image.resize(size, Image.Resampling.BICUBIC)


def bordered(image, fill, *, share=0.02):
    """With a border on all sides."""
    across, down = (max(1, round(side * share)) for side in image.size)
    wider = Image.new("RGB", (image.width + 2 * across, image.height + 2 * down), fill)
    wider.paste(image, (across, down))
    return wider


def copies(image, rng):
    """Near-duplicates: {how it was made: bytes}."""
    fill = (WHITE, BLACK, colour(rng))[rng.integers(3)]
    factor = float(np.exp(rng.uniform(math.log(0.5), math.log(2))))
    quality = int(rng.integers(50, 96))
    return {
        **{f"quality {level}": encoded(image, quality=level) for level in (50, 60, 75, 95)},
        **{f"resized {by}": encoded(scaled(image, by)) for by in (0.5, 0.75, 1.5, 2)},
        "white border": encoded(bordered(image, WHITE)),
        "black border": encoded(bordered(image, BLACK)),
        "coloured border": encoded(bordered(image, colour(rng))),
        "resized and compressed": encoded(scaled(image, factor), quality=quality),
        "resized, bordered and compressed": encoded(bordered(scaled(image, factor), fill), quality=quality),
    }
