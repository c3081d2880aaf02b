// The state of the page is its address, one part for each run: #0=words,0.15,0,2&1=gaussian,0.25,0,1

export interface State {
  kind: string;
  level: number;
  seed: number;
  example: number;
}

const whole = (text: string | undefined): number => {
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

/** The address with the state of a run put in. */
export function withState(hash: string, run: number, state: State): string {
  const given = new URLSearchParams(hash.replace(/^#/, ''));
  given.set(String(run), [state.kind, state.level, state.seed, state.example].join(','));
  given.sort();
  return `#${given.toString().replaceAll('%2C', ',')}`;
}
