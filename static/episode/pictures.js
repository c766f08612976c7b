// The cameras' pictures of the shown result; those of the next few are fetched ahead.
const AHEAD = 6;

export class Pictures {
  #images = new Map();
  #kept = new Map();

  constructor(container, cameras, frames) {
    this.frames = frames;
    for (const camera of cameras.filter((name) => frames.some((frame) => frame.images[name]))) {
      const figure = document.createElement("figure");
      const image = document.createElement("img");
      image.alt = interpolate(gettext("Camera %s"), [camera]);
      const caption = document.createElement("figcaption");
      caption.textContent = camera;
      figure.append(image, caption);
      container.append(figure);
      this.#images.set(camera, image);
    }
  }

  show(at) {
    for (const [camera, image] of this.#images) {
      const url = this.frames[at].images[camera];
      if (url) image.src = url;
      for (const frame of this.frames.slice(at + 1, at + 1 + AHEAD)) this.#fetch(frame.images[camera]);
    }
  }

  #fetch(url) {
    if (!url || this.#kept.has(url)) return;
    const image = new Image();
    image.src = url;
    this.#kept.set(url, image);
  }
}
