// Held-out examples in the plane; with a code of two numbers the cursor is decoded.
import { command, h, s } from '../dom';
import type { Feed } from '../feed';
import { canvas, draw, picture, rgba, unpack } from '../pixels';
import type { ImageRun, MapData, TextRun } from '../types';

const W = 640, H = 440, PAD = 14;

export async function drawMap(feed: Feed, index: number, run: TextRun | ImageRun, section: HTMLElement): Promise<void> {
  const map = await feed.get<MapData>(`run/${index}/map`);
  const shape = 'shape' in run ? run.shape : null;
  const pixels = map.pixels ? unpack(map.pixels) : null;
  const grid = map.grid ? unpack(map.grid.pixels) : null;
  const [x0, x1, y0, y1] = [Math.min(...map.x), Math.max(...map.x), Math.min(...map.y), Math.max(...map.y)];
  const X = (value: number): number => PAD + ((value - x0) / (x1 - x0 || 1)) * (W - 2 * PAD);
  const Y = (value: number): number => H - PAD - ((value - y0) / (y1 - y0 || 1)) * (H - 2 * PAD);

  const words = h('p', { class: 'hovered', 'aria-live': 'polite' });
  const view = shape && canvas(shape, 'The example under the cursor');
  const decoded = shape && grid && canvas(shape, 'What the decoder makes of the place under the cursor');
  const svg = s('svg', { viewBox: `0 0 ${W} ${H}`, class: 'map', tabindex: 0, role: 'application', 'aria-label': `A map of ${map.x.length} held-out examples. Arrow keys move a cursor over it.` });
  const ring = s('circle', { r: 8, class: 'ring' });
  const cross = s('path', { class: 'cursor' });
  map.x.forEach((x, i) => {
    const label = map.labels?.[i] ?? -1;
    const place = { x: X(x), y: Y(map.y[i]!) };
    const many = (map.classes?.length ?? 0) > 1 && label >= 0;
    svg.append(
      many
        ? s('text', { ...place, class: `mark c${label % 7}`, 'text-anchor': 'middle', dy: '0.35em' }, shortName(map.classes![label]!, label))
        : s('circle', { cx: place.x, cy: place.y, r: 3.4, class: 'mark c0' }),
    );
  });
  svg.append(cross, ring);

  let cursor: [number, number] = [W / 2, H / 2];
  const move = (x: number, y: number): void => {
    cursor = [Math.max(PAD, Math.min(W - PAD, x)), Math.max(PAD, Math.min(H - PAD, y))];
    let best = 0, distance = Infinity;
    map.x.forEach((value, i) => {
      const d = (X(value) - cursor[0]) ** 2 + (Y(map.y[i]!) - cursor[1]) ** 2;
      if (d < distance) [best, distance] = [i, d];
    });
    ring.setAttribute('cx', String(X(map.x[best]!)));
    ring.setAttribute('cy', String(Y(map.y[best]!)));
    if (view && pixels && shape) draw(view, rgba(picture(pixels, shape, best), shape));
    const label = map.labels?.[best] ?? -1;
    const from = label >= 0 ? `${map.classes![label]}: ` : '';
    words.textContent = map.texts ? `${from}${map.texts[best]} …` : label >= 0 ? `nearest example, class ${map.classes![label]}` : 'nearest example';
    if (decoded && grid && shape && map.grid) {
      cross.setAttribute('d', `M${cursor[0] - 9} ${cursor[1]}h18M${cursor[0]} ${cursor[1] - 9}v18`);
      const { side } = map.grid;
      const column = Math.round(((cursor[0] - PAD) / (W - 2 * PAD)) * (side - 1)), row = Math.round(((H - PAD - cursor[1]) / (H - 2 * PAD)) * (side - 1));
      draw(decoded, rgba(picture(grid, shape, row * side + column), shape));
    }
  };
  svg.addEventListener('pointermove', (event) => {
    const box = svg.getBoundingClientRect();
    move(((event.clientX - box.left) / box.width) * W, ((event.clientY - box.top) / box.height) * H);
  });
  svg.addEventListener('keydown', (event) => {
    const by: Record<string, [number, number]> = { ArrowLeft: [-12, 0], ArrowRight: [12, 0], ArrowUp: [0, -12], ArrowDown: [0, 12] };
    const step = by[event.key];
    if (!step) return;
    event.preventDefault();
    move(cursor[0] + step[0], cursor[1] + step[1]);
  });
  const shares = map.variance.map((share) => `${Math.round(share * 100)}%`).join(' and ');
  const about = map.kind === 'code' ? 'The two axes are the two numbers of the code itself.' : `${map.width} numbers for each example; the plane shows ${shares} of their variance (PCA).`;
  section.append(
    h('div', { class: 'mapping' }, svg, h('div', { class: 'beside' }, view && h('div', {}, h('h4', {}, 'Nearest example'), view), decoded && h('div', {}, h('h4', {}, 'Decoded here'), decoded), words)),
    h('p', { class: 'explain' }, about),
    command(run.embed_command),
  );
  move(...cursor);
}

/** A class in a letter or two, so that it is told by more than its colour. */
export function shortName(name: string, label: number): string {
  return name.length <= 2 ? name : /^\d/.test(name) ? name.slice(0, 2) : name ? name.slice(0, 2) : String(label);
}
