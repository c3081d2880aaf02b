// The page: an article for each run, its parts drawn when they come into view.
import './style.css';
import { h, reason } from './dom';
import { LiveFeed, StaticFeed, type Feed } from './feed';
import { count } from './format';
import { DialSection } from './sections/dial';
import { ImageColumns } from './sections/image';
import { TextColumns } from './sections/text';
import { Address } from './state';
import { parts } from './sections/parts';
import { targetSection } from './sections/target';
import type { About, ImageRun, TextRun } from './types';

const feed: Feed = window.textdaeStatic ? new StaticFeed() : new LiveFeed();
const page = document.getElementById('page')!;

const TITLES: Record<string, string> = { text: 'Text', image: 'Images' };

/** Draw a part when it comes near the window. */
function whenNear(element: HTMLElement, work: () => void): void {
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      work();
    },
    { rootMargin: '400px' },
  );
  observer.observe(element);
}

async function article(about: About, index: number): Promise<void> {
  const { name, modality } = about.runs[index]!;
  const place = h('article', { class: 'run', 'aria-labelledby': `run-${index}` }, h('h2', { id: `run-${index}` }, h('span', { class: 'kicker' }, TITLES[modality] ?? modality), ` ${name}`));
  const waiting = h('p', { class: 'waiting', role: 'status' }, 'Opening the model and its held-out examples …');
  place.append(waiting);
  page.append(place);
  try {
    const run = await feed.get<TextRun | ImageRun>(`run/${index}/about`);
    const columns = modality === 'text' ? new TextColumns(run as TextRun) : new ImageColumns(run as ImageRun);
    const dial = new DialSection(feed, index, run, columns, new Address(index));
    await dial.redraw();
    waiting.remove();
    place.append(h('p', { class: 'summary' }, `${run.architecture}, ${count(run.parameters)} parameters. ${run.data}.`), dial.element);
    performance.mark(`first-picture-${index}`);
    void dial.fillCurve();
    for (const part of parts(feed, index, run, modality, about.live, dial)) {
      const section = h('section', { class: 'part' }, h('h3', {}, part.title), h('p', { class: 'explain' }, part.words));
      place.append(section);
      whenNear(section, () => void part.draw(section).catch((error: unknown) => section.append(h('p', { class: 'status' }, reason(error)))));
    }
  } catch (error) {
    waiting.textContent = reason(error);
  }
}

async function start(): Promise<void> {
  try {
    const about = await feed.get<About>('about');
    page.replaceChildren();
    document.getElementById('made')!.textContent = about.live ? `textdae ${about.version}, on this machine only: nothing that you type or draw leaves it.` : `Made by textdae ${about.version}; everything here was computed before.`;
    await Promise.all(about.runs.map((_, index) => article(about, index)));
    if (about.target) await targetSection(feed, page);
  } catch (error) {
    page.replaceChildren(h('p', { class: 'waiting', role: 'alert' }, reason(error)));
  }
}

void start();
