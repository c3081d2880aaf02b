import type { ImageFigures, TextFigures } from './types';

export const percent = (value: number): string => `${Math.round(value * 100)}%`;

/** A measure of a table, as `textdae evaluate` prints it. */
export function measure(name: string, value: number): string {
  if (name === 'accuracy') return `${(value * 100).toFixed(1)}%`;
  if (name === 'psnr') return `${value.toFixed(2)} dB`;
  return value.toFixed(3);
}

export const measureName = (name: string): string =>
  ({ accuracy: 'share right', bits_per_byte: 'bits per byte', psnr: 'PSNR', ssim: 'SSIM' })[name] ?? name;

export const rowName = (name: string): string => name.replace(/^baseline: /, '');

export function textFigures(figures: TextFigures): string {
  if (!figures.scored) return 'nothing is hidden';
  const bits = figures.bits_per_byte === null ? '' : ` · ${figures.bits_per_byte.toFixed(2)} bits per byte`;
  return `${figures.right} of ${figures.scored} right${bits}`;
}

export function imageFigures(figures: ImageFigures): string {
  const ssim = figures.ssim === undefined ? '' : ` · SSIM ${figures.ssim.toFixed(2)}`;
  return `${figures.psnr.toFixed(1)} dB${ssim}`;
}

/** A level of the dial: a share in percent, a strength as it is. */
export const levelText = (unit: string, level: number): string => (unit === 'rate' ? percent(level) : String(level));

export const kindName = (kind: string): string => kind.replaceAll('_', ' ');

export function count(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (value >= 1e4) return `${Math.round(value / 1e3)} k`;
  return value.toLocaleString('en');
}
