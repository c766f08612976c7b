// Shows the newest picture only once it is decoded, and never queues: what came while one was loading is overtaken.
export function showPicture(image, url) {
  if (!url) {
    image.hidden = true;
    return;
  }
  image.wanted = url;
  if (!image.loading_) load(image);
}

async function load(image) {
  image.loading_ = true;
  while (image.wanted) {
    const url = image.wanted;
    image.wanted = null;
    const next = new Image();
    next.src = url;
    try {
      await next.decode();
      image.src = url;
      image.hidden = false;
    } catch {
      // Its link has expired, or the picture is no longer kept: the one before stays.
    }
  }
  image.loading_ = false;
}
