// Shows the newest picture only once it is decoded, and never queues: what came while one was loading is overtaken.
const wanted = new WeakMap();
const loading = new WeakSet();
const shown = new WeakMap();

export function showPicture(image, url) {
  if (!url || shown.get(image) === url) return;
  shown.set(image, url);
  wanted.set(image, url);
  if (!loading.has(image)) load(image);
}

async function load(image) {
  loading.add(image);
  while (wanted.has(image)) {
    const url = wanted.get(image);
    wanted.delete(image);
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
  loading.delete(image);
}
