// Photos, clips and cameras as a series of ImageBitmaps: the newest frame when asked for one.

import { UserError } from "./description.js";

export const MAX_PIXELS = 8192 * 8192; // as in perception/runtime/letterbox.py

/** One photo. Its size is checked before it is decoded. */
export class Photo {
  static async open(file) {
    const image = new Image();
    await loaded(image, "load", file, "no photo that this browser can read; JPEG, PNG or WebP are");
    const { naturalWidth: width, naturalHeight: height } = image;
    try {
      if (width * height > MAX_PIXELS)
        throw new UserError(`${file.name}: ${width}×${height} pixels (${megapixels(width * height)}); ` +
                            `at most ${megapixels(MAX_PIXELS)} are read, make it smaller first`);
      const options = { colorSpaceConversion: "none" };
      return new Photo(file.name, await createImageBitmap(image, options));
    } catch (error) {
      if (error instanceof UserError) throw error;
      throw new UserError(`${file.name}: cannot be decoded (${error.message})`);
    } finally {
      URL.revokeObjectURL(image.src);
    }
  }

  constructor(name, bitmap) {
    [this.name, this.bitmap, this.moves] = [name, bitmap, false];
  }

  /** The photo, once; null afterwards until `again()`. */
  async frame() {
    const bitmap = this.taken ? null : await createImageBitmap(this.bitmap);
    this.taken = true;
    return bitmap;
  }

  again() { this.taken = false; }
  pause() {}
  play() {}
  close() { this.bitmap.close(); }
}

/** A clip or a camera: a playing <video>. Frames that the model is too slow for are skipped. */
export class Film {
  static async clip(file) {
    const video = silentVideo();
    video.loop = true;
    await loaded(video, "loadeddata", file,
                 "no clip that this browser can play; MP4 (H.264) or WebM are");
    return new Film(file.name, video);
  }

  static async camera() {
    if (!navigator.mediaDevices)
      throw new UserError("the camera needs https:// or localhost; this page has neither");
    const video = silentVideo();
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia(
        { video: { width: { ideal: 1280 }, facingMode: "environment" } });
    } catch (error) {
      throw new UserError({
        NotAllowedError: "the camera was not allowed; allow it next to the page's address",
        NotFoundError: "no camera was found",
        NotReadableError: "the camera is in use by another program",
      }[error.name] ?? `the camera does not start (${error.message})`);
    }
    await new Promise(done => { video.onloadeddata = done; });
    return new Film("camera", video);
  }

  constructor(name, video) {
    [this.name, this.video, this.moves, this.shown] = [name, video, true, -1];
    this.play();
  }

  /** The frame on show, or null where it is the one returned last. */
  async frame() {
    const { video } = this;
    if (video.currentTime === this.shown || video.readyState < 2 || video.seeking) return null;
    this.shown = video.currentTime;
    return createImageBitmap(video).catch(() => null); // it has just started over
  }

  again() { this.shown = -1; }
  pause() { this.video.pause(); }
  play() { this.video.play().catch(() => {}); } // refused by the browser: frames can still be read

  close() {
    this.pause();
    this.video.srcObject?.getTracks().forEach(track => track.stop());
    URL.revokeObjectURL(this.video.src);
    this.video.removeAttribute("src");
  }
}

export const open = file => (file.type.startsWith("video/") ? Film.clip(file) : Photo.open(file));

function silentVideo() {
  const video = document.createElement("video");
  [video.muted, video.playsInline] = [true, true];
  return video;
}

function loaded(element, event, file, problem) {
  return new Promise((done, failed) => {
    element.addEventListener(event, done, { once: true });
    element.onerror = () => {
      URL.revokeObjectURL(element.src);
      failed(new UserError(`${file.name}: ${problem}`));
    };
    element.src = URL.createObjectURL(file);
  });
}

const megapixels = count => `${(count / 1e6).toFixed(0)} megapixels`;
