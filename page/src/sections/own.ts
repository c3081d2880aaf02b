// A person's own sentence, or picture.
import { command, h, newest, reason, status, unique } from '../dom';
import type { Feed } from '../feed';
import { imageFigures, textFigures } from '../format';
import { canvas, draw, pack, rgba, unpack } from '../pixels';
import type { ImageFigures, ImageRun, Passage, TextExample, TextBaselineExample, TextRun } from '../types';
import type { DialSection } from './dial';
import { guessBars, passage, pieceText, type Marked } from './passage';
import { baselineMarks } from './text';

type Typed = Passage & Partial<TextExample> & { baseline?: TextBaselineExample & { name: string } };

const SENTENCE = 'The state of being free from work, and the place where one goes to rest.';

export async function drawSentence(feed: Feed, index: number, run: TextRun, dial: DialSection, section: HTMLElement): Promise<void> {
  const field = h('textarea', { id: unique('sentence'), rows: 2, maxlength: 600, oninput: () => typed() });
  const { address } = dial, given = address.read('sentence');
  field.value = given?.slice(0, field.maxLength) ?? SENTENCE;
  const line = status(), words = h('p', { class: 'passage choose', role: 'group', 'aria-label': 'Press words to hide them' }), answer = h('div', { class: 'columns two' }), bars = h('div', { class: 'columns bars-of-all' }), made = h('div', {});
  const hidden = new Set<number>((address.read('hidden') ?? (given === null ? '2' : '')).split(',').filter((word) => /^\d{1,3}$/.test(word)).map(Number));
  const latest = newest();
  let timer = 0;
  const typed = (): void => {
    clearTimeout(timer);
    timer = window.setTimeout(() => { hidden.clear(); void ask(); }, 300);
  };
  const ask = (): Promise<void> =>
    latest(async (isNewest) => {
      address.keep('sentence', field.value === SENTENCE ? null : field.value);
      address.keep('hidden', field.value === SENTENCE && [...hidden].join() === '2' ? null : [...hidden].sort((a, b) => a - b).join());
      try {
        const found = await feed.post<Typed>(`run/${index}/own`, { text: field.value, hidden: [...hidden] });
        if (!isNewest()) return;
        line.textContent = '';
        show(found);
      } catch (error) {
        if (isNewest()) line.textContent = reason(error);
      }
    });
  const show = (found: Typed): void => {
    const focused = (document.activeElement as HTMLElement | null)?.dataset['word'];
    words.replaceChildren();
    for (let i = 0; i < found.pieces.length; ) {
      const word = found.words[i]!;
      let text = '';
      for (; found.words[i] === word; i++) text += found.pieces[i]!;
      if (/^\s/.test(text)) words.append(' ');
      words.append(
        h('button', { type: 'button', class: `piece ${hidden.has(word) ? 'hiding' : ''}`, 'data-word': word, 'aria-pressed': String(hidden.has(word)), onclick: () => {
          if (!hidden.delete(word)) hidden.add(word);
          void ask();
        } }, text.trim() || '␣'),
      );
    }
    if (focused !== undefined) words.querySelector<HTMLElement>(`[data-word="${focused}"]`)?.focus();
    if (!found.hidden || !found.guesses || !found.baseline) {
      answer.replaceChildren();
      bars.replaceChildren(h('p', { class: 'explain' }, 'Nothing is hidden yet.'));
      made.replaceChildren();
      return;
    }
    const shown = found.pieces.map((piece, i) => (found.hidden!.includes(i) ? ` ${run.mask}` : piece)).join('').trim();
    made.replaceChildren(command(`textdae denoise ${dial.runName} '${shown.replaceAll("'", String.raw`'\''`)}'`));
    const marks = new Map<number, Marked>(found.hidden.map((place, i) => [place, { text: found.guesses![i]![0]![0], mark: found.right![i] ? 'right' : 'wrong' }]));
    answer.replaceChildren(
      h('div', { class: 'column' }, h('h4', {}, 'Rebuilt'), h('p', { class: 'figure' }, textFigures(found.figures!)), passage(found, marks)),
      h('div', { class: 'column' }, h('h4', {}, `Best baseline: ${found.baseline.name}`), h('p', { class: 'figure' }, textFigures(found.baseline.figures)), passage(found, baselineMarks(found.hidden, found.baseline))),
    );
    bars.replaceChildren(...found.hidden.slice(0, 4).map((place, i) => h('div', { class: 'column' }, h('p', { class: 'figure' }, `for “${pieceText(found, place)}”`), guessBars(found.guesses![i]!, pieceText(found, place)))));
  };
  section.append(h('label', { for: field.id, class: 'field' }, 'A sentence'), field, words, line, answer, bars, made);
  await ask();
}

interface Drawn {
  clean: string;
  corrupted: string;
  corrupted_figures: ImageFigures[];
  rebuilt: string;
  rebuilt_figures: ImageFigures[];
  baseline: { name: string; rebuilt: string; rebuilt_figures: ImageFigures[] };
}

const SIDE = 224;

export async function drawPicture(feed: Feed, index: number, run: ImageRun, dial: DialSection, section: HTMLElement): Promise<void> {
  const [channels, height, width] = run.shape;
  const board = h('canvas', { width: SIDE, height: SIDE, class: 'board', role: 'img', tabindex: 0, 'aria-label': 'Draw here with the pointer; or press Example to have one drawn' });
  const pen = board.getContext('2d', { willReadFrequently: true })!;
  const line = status();
  const views = ['As the model sees it', 'Corrupted', 'Rebuilt', 'Best baseline'].map((name) => {
    const title = h('h4', {}, name), figure = h('p', { class: 'figure' }, '\u00a0'), view = canvas(run.shape, name);
    return { title, figure, view, column: h('div', { class: 'column' }, title, figure, view) };
  });
  const clear = (): void => {
    pen.fillStyle = '#000';
    pen.fillRect(0, 0, SIDE, SIDE);
  };
  let drawn = false;
  const example = (): void => {
    drawn = false;
    clear();
    stroke([[0.35, 0.3], [0.5, 0.2], [0.65, 0.3], [0.62, 0.45], [0.4, 0.68], [0.34, 0.8], [0.7, 0.8]]);
  };
  const stroke = (points: [number, number][]): void => {
    pen.strokeStyle = '#fff';
    pen.lineWidth = SIDE / 9;
    pen.lineCap = pen.lineJoin = 'round';
    pen.beginPath();
    points.forEach(([x, y]) => pen.lineTo(x * SIDE, y * SIDE));
    pen.stroke();
  };
  /** The picture in the size of the model: the mean of what falls on each of its pixels. */
  const small = (): Uint8Array => {
    const { data } = pen.getImageData(0, 0, SIDE, SIDE);
    const sums = new Float64Array(channels * height * width), counts = new Float64Array(height * width);
    for (let y = 0; y < SIDE; y++)
      for (let x = 0; x < SIDE; x++) {
        const to = Math.floor((y * height) / SIDE) * width + Math.floor((x * width) / SIDE), from = 4 * (y * SIDE + x);
        counts[to]!++;
        const grey = 0.299 * data[from]! + 0.587 * data[from + 1]! + 0.114 * data[from + 2]!;
        for (let c = 0; c < channels; c++) sums[c * height * width + to]! += channels === 1 ? grey : data[from + c]!;
      }
    return Uint8Array.from(sums, (sum, i) => Math.round(sum / Math.max(1, counts[i % (height * width)]!)));
  };
  /** Draw what `small` gave: the address keeps it. Says whether it is a picture of this size. */
  const restored = (kept: string | null): boolean => {
    try {
      const pixels = unpack(kept ?? '');
      if (pixels.length !== channels * height * width) return false;
      const large = new Uint8Array(channels * SIDE * SIDE);
      for (let i = 0; i < large.length; i++) {
        const x = i % SIDE, y = Math.floor(i / SIDE) % SIDE, c = Math.floor(i / SIDE / SIDE);
        large[i] = pixels[(c * height + Math.floor((y * height) / SIDE)) * width + Math.floor((x * width) / SIDE)]!;
      }
      draw(board, rgba(large, [channels, SIDE, SIDE]));
      return (drawn = true);
    } catch {
      return false; // not base64
    }
  };
  const latest = newest();
  const ask = (): Promise<void> =>
    latest(async (isNewest) => {
      const { kind, level, seed } = dial.state, pixels = pack(small());
      dial.address.keep('picture', drawn ? pixels : null);
      try {
        const found = await feed.post<Drawn>(`run/${index}/own`, { pixels, kind, level, seed });
        if (!isNewest()) return;
        line.textContent = '';
        const shown = [found.clean, found.corrupted, found.rebuilt, found.baseline.rebuilt];
        const figures = [null, found.corrupted_figures, found.rebuilt_figures, found.baseline.rebuilt_figures];
        views.forEach(({ view, figure }, i) => {
          draw(view, rgba(unpack(shown[i]!), run.shape));
          figure.textContent = figures[i] ? imageFigures(figures[i][0]!) : `${width} × ${height}`;
        });
        views[3]!.title.textContent = `Best baseline: ${found.baseline.name}`;
      } catch (error) {
        if (isNewest()) line.textContent = reason(error);
      }
    });
  const take = async (file: File | undefined): Promise<void> => {
    if (!file) return;
    try {
      const bitmap = await createImageBitmap(file);
      const side = Math.min(bitmap.width, bitmap.height);
      clear();
      drawn = true;
      pen.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, SIDE, SIDE);
      await ask();
    } catch {
      line.textContent = `${file.name}: not a picture that the browser can open`;
    }
  };
  let last: [number, number] | null = null;
  const at = (event: PointerEvent): [number, number] => {
    const box = board.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  board.addEventListener('pointerdown', (event) => {
    board.setPointerCapture(event.pointerId);
    last = at(event);
    drawn = true;
    stroke([last, last]);
  });
  board.addEventListener('pointermove', (event) => {
    if (!last) return;
    const now = at(event);
    stroke([last, now]);
    last = now;
  });
  for (const name of ['pointerup', 'pointercancel'] as const)
    board.addEventListener(name, () => {
      last = null;
      void ask();
    });
  board.addEventListener('dragover', (event) => event.preventDefault());
  board.addEventListener('drop', (event) => {
    event.preventDefault();
    void take(event.dataTransfer?.files[0]);
  });
  const file = h('input', { type: 'file', accept: 'image/*', id: unique('file'), onchange: () => void take(file.files?.[0]) });
  section.append(
    h('div', { class: 'drawing' }, h('div', {}, board, h('div', { class: 'buttons' }, h('button', { type: 'button', onclick: () => { clear(); drawn = true; void ask(); } }, 'Clear'), h('button', { type: 'button', onclick: () => { example(); void ask(); } }, 'Example')), h('label', { for: file.id, class: 'field' }, 'Or a picture file'), file), h('div', { class: 'columns four' }, ...views.map((each) => each.column))),
    line,
    command(`textdae denoise ${dial.runName} PICTURE.png -o clean.png`),
  );
  dial.listen(() => void ask());
  if (!restored(dial.address.read('picture'))) example();
  await ask();
}
