// The steps of the episode before and after: a slider, two buttons, and playing.
const INTERVAL_MS = 220;

export class Scrub {
  constructor(scene, frames) {
    this.frames = frames;
    this.bar = scene.querySelector("[data-scrub]");
    if (frames.length < 2) return;
    this.images = [...scene.querySelectorAll("img[data-camera]")];
    this.label = scene.querySelector("[data-frame-label]");
    this.range = this.bar.querySelector("[data-frame]");
    this.playButton = this.bar.querySelector("[data-action='play']");
    this.index = frames.findIndex((frame) => frame.current);
    this.bar.hidden = false;
    this.range.max = frames.length - 1;
    this.range.addEventListener("input", () => this.show(Number(this.range.value)));
    this.bar.querySelector("[data-action='frame-before']").addEventListener("click", () => this.show(this.index - 1));
    this.bar.querySelector("[data-action='frame-after']").addEventListener("click", () => this.show(this.index + 1));
    this.playButton.addEventListener("click", () => this.toggle());
    this.range.addEventListener("pointerdown", () => this.load(), { once: true });
    this.show(this.index);
  }

  show(index) {
    this.index = Math.min(this.frames.length - 1, Math.max(0, index));
    const frame = this.frames[this.index];
    for (const image of this.images) {
      const url = frame.images[image.dataset.camera];
      if (url && image.getAttribute("src") !== url) image.src = url;
    }
    this.range.value = this.index;
    this.range.setAttribute("aria-valuetext", frame.step);
    const offset = frame.step - this.frames.find((each) => each.current).step;
    const moved = offset ? `${frame.step} (${offset > 0 ? "+" : "−"}${Math.abs(offset)})` : `${frame.step}`;
    this.label.textContent = this.label.dataset.words.replace("%s", moved);
    this.bar.classList.toggle("elsewhere", offset !== 0);
  }

  toggle() {
    this.playing = !this.playing;
    this.playButton.setAttribute("aria-pressed", String(this.playing));
    clearInterval(this.timer);
    if (!this.playing) return;
    this.load();
    if (this.index === this.frames.length - 1) this.show(0);
    this.timer = setInterval(() => {
      if (this.index === this.frames.length - 1) this.toggle();
      else this.show(this.index + 1);
    }, INTERVAL_MS);
  }

  // Fetch every image once, so that playing does not flicker.
  load() {
    this.loaded ??= this.frames.flatMap((frame) =>
      Object.values(frame.images).map((url) => {
        const image = new Image();
        image.src = url;
        return image;
      }),
    );
  }
}
