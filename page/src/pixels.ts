// Pictures travel as base64 of uint8, (n, C, H, W), and are drawn on a canvas.
import { h } from './dom';

export type Shape = [channels: number, height: number, width: number];

export function unpack(text: string): Uint8Array {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

export function pack(bytes: Uint8Array): string {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** One picture of several. */
export function picture(all: Uint8Array, shape: Shape, index: number): Uint8Array {
  const size = shape[0] * shape[1] * shape[2];
  return all.subarray(index * size, (index + 1) * size);
}

/** Channels after another -> RGBA, pixel after pixel. */
export function rgba(pixels: Uint8Array, shape: Shape): Uint8ClampedArray<ArrayBuffer> {
  const [channels, height, width] = shape;
  const area = height * width;
  const result = new Uint8ClampedArray(4 * area);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) result[4 * i + c] = pixels[(channels === 1 ? 0 : c) * area + i] ?? 0;
    result[4 * i + 3] = 255;
  }
  return result;
}

/** Where a picture differs from the clean one: blue where it is too dark, orange where too bright, grey where it is right. */
export function difference(pixels: Uint8Array, clean: Uint8Array, shape: Shape): Uint8ClampedArray<ArrayBuffer> {
  const [channels, height, width] = shape;
  const area = height * width;
  const result = new Uint8ClampedArray(4 * area);
  for (let i = 0; i < area; i++) {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += (pixels[c * area + i] ?? 0) - (clean[c * area + i] ?? 0);
    const error = Math.max(-1, Math.min(1, (sum / channels / 255) * 1.5));
    const [r, g, b] = error > 0 ? [240, 150, 30] : [40, 110, 230];
    const share = Math.abs(error);
    result.set([38 + (r - 38) * share, 38 + (g - 38) * share, 38 + (b - 38) * share, 255], 4 * i);
  }
  return result;
}

/** A canvas of the size of the picture; style makes it larger. */
export function canvas(shape: Shape, label: string): HTMLCanvasElement {
  return h('canvas', { width: shape[2], height: shape[1], class: 'picture', role: 'img', 'aria-label': label });
}

export function draw(target: HTMLCanvasElement, colours: Uint8ClampedArray<ArrayBuffer>): void {
  target.getContext('2d')?.putImageData(new ImageData(colours, target.width, target.height), 0, 0);
}
