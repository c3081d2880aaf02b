// A few lines in the place of a framework.

type Child = Node | string | number | null | undefined | false;
type Value = string | number | boolean | ((event: never) => void) | null | undefined;

const SVG = 'http://www.w3.org/2000/svg';

function fill(element: Element, attributes: Record<string, Value>, children: Child[]): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value as EventListener);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((c): c is Node | string | number => c !== null && c !== undefined && c !== false).map((c) => (typeof c === 'number' ? String(c) : c)));
}

/** An HTML element; attributes that begin with `on` are listeners. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Record<string, Value> = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  fill(element, attributes, children);
  return element;
}

/** An SVG element. */
export function s<K extends keyof SVGElementTagNameMap>(tag: K, attributes: Record<string, Value> = {}, ...children: Child[]): SVGElementTagNameMap[K] {
  const element = document.createElementNS(SVG, tag);
  fill(element, attributes, children);
  return element;
}

let last = 0;
/** A name for an element that another one refers to. */
export const unique = (name: string): string => `${name}-${++last}`;

/** Run only the newest of several asynchronous drawings: an answer that comes late is dropped. */
export function newest(): (work: (isNewest: () => boolean) => Promise<void>) => Promise<void> {
  let current = 0;
  return async (work) => {
    const own = ++current;
    await work(() => own === current);
  };
}

/** A line that screen readers hear when it changes. */
export const status = (): HTMLElement => h('p', { class: 'status', role: 'status' });

/** The command that a figure comes from. */
export function command(text: string): HTMLElement {
  return h('p', { class: 'command' }, h('code', { tabindex: 0 }, text));
}

export const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));
