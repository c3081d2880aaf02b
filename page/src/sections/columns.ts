// What the dial turns, of text or of images.
export interface Columns<Shot, Baseline> {
  readonly element: HTMLElement;
  readonly examples: number;
  show(shot: Shot, example: number): void;
  showBaseline(baseline: Baseline | null, shot: Shot, example: number): void;
  /** Called when a person picks an example; set by the dial. */
  pick?: (example: number) => void;
}
