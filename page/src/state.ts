// The state of the page is its address, one part for each run, and what stands elsewhere than at its start:
// #0=words,0.15,0,2&0.round=3&0.sentence=...&1=gaussian,0.25,0,1&1.checkpoint=400

export interface State {
  kind: string;
  level: number;
  seed: number;
  example: number;
}

/** What a part of the page below the dial keeps in the address. */
export type Kept = 'measure' | 'sentence' | 'hidden' | 'picture' | 'round' | 'checkpoint';

const LONGEST = 4096;

/** A whole number from 0 to 99; what is none is 0. */
export const whole = (text: string | null | undefined): number => {
  const value = Number(text);
  return Number.isInteger(value) && value >= 0 && value <= 99 ? value : 0;
};

/** What an address says of a run; what it does not say, or says wrongly, is left out. */
export function readState(hash: string, run: number): Partial<State> {
  const given = new URLSearchParams(hash.replace(/^#/, '')).get(String(run));
  if (given === null) return {};
  const [kind, level, seed, example] = given.split(',');
  const found: Partial<State> = { seed: whole(seed), example: whole(example) };
  if (kind) found.kind = kind;
  if (level && Number.isFinite(Number(level))) found.level = Number(level);
  return found;
}

/** The address with one of its parts put in, or taken out. */
function withPart(hash: string, part: string, value: string | null): string {
  const given = new URLSearchParams(hash.replace(/^#/, ''));
  if (value === null) given.delete(part);
  else given.set(part, value);
  given.sort();
  const text = given.toString().replaceAll('%2C', ',');
  return text && `#${text}`;
}

/** The address with the state of a run put in. */
export const withState = (hash: string, run: number, state: State): string => withPart(hash, String(run), [state.kind, state.level, state.seed, state.example].join(','));

/** The address with what a part of the page keeps; too much of it, and what is at its start (null), is left out. */
export const withKept = (hash: string, run: number, what: Kept, value: string | null): string => withPart(hash, `${run}.${what}`, value !== null && value.length > LONGEST ? null : value);

/** What an address keeps for a part of the page. */
export const readKept = (hash: string, run: number, what: Kept): string | null => new URLSearchParams(hash.replace(/^#/, '')).get(`${run}.${what}`);

/** The part of the address of this window that belongs to a run. */
export class Address {
  constructor(private run: number) {}

  get state(): Partial<State> {
    return readState(location.hash, this.run);
  }

  set state(state: State) {
    this.replace(withState(location.hash, this.run, state));
  }

  read(what: Kept): string | null {
    return readKept(location.hash, this.run, what);
  }

  keep(what: Kept, value: string | null): void {
    this.replace(withKept(location.hash, this.run, what, value));
  }

  private replace(hash: string): void {
    if (hash === location.hash) return;
    try {
      history.replaceState(null, '', hash || location.pathname + location.search);
    } catch {
      // A browser that was told too often in a short time; the next change is kept again.
    }
  }
}
