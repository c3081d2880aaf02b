// A scrubber with a play button.
import { h, unique } from './dom';

export interface Player {
  element: HTMLElement;
  /** Start anew with this many frames; shows the first. */
  load(frames: number, at?: number): void;
}

export function player(label: string, show: (frame: number) => void, milliseconds = 900): Player {
  const range = h('input', { type: 'range', min: 0, max: 0, step: 1, id: unique('frame'), oninput: () => go(Number(range.value)) });
  const count = h('output', { class: 'seed', for: range.id });
  const button = h('button', { type: 'button', onclick: () => (timer === null ? play() : stop()) }, 'Play');
  let timer: number | null = null;

  function go(frame: number): void {
    range.value = String(frame);
    count.textContent = `${frame} of ${range.max}`;
    show(frame);
  }
  function stop(): void {
    if (timer !== null) clearInterval(timer);
    timer = null;
    button.textContent = 'Play';
  }
  function play(): void {
    if (range.value === range.max) go(0);
    button.textContent = 'Pause';
    timer = window.setInterval(() => {
      if (range.value === range.max || !range.isConnected) stop();
      else go(Number(range.value) + 1);
    }, milliseconds);
  }
  return {
    element: h('div', { class: 'player' }, button, h('label', { for: range.id }, label), range, count),
    load(frames, at = 0) {
      stop();
      range.max = String(Math.max(0, frames - 1));
      button.disabled = frames < 2;
      go(Math.min(at, Math.max(0, frames - 1)));
    },
  };
}
