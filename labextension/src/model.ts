/** What this page knows of the pool, how it is kept up to date, and how far it can be trusted. */
import { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import { ISignal, Signal } from '@lumino/signaling';
import { Copy, IAbsence, INews, IRun, Refusal, RunState, Wire } from './wire';

/** What the panel can say about the pool; its `data-state`. */
export type PanelState =
  'no-server' | 'no-pool' | 'connecting' | 'live' | 'stale' | 'error' | 'stopping' | 'empty';

const ENDED: ReadonlySet<RunState> = new Set<RunState>(['done', 'failed', 'cancelled', 'lost']);
const STALE_S = 3;
/** A pool that is still there after this does not stop. */
const STOPPING_MS = 15_000;
/** For the status bar, while nobody looks at the panel. */
const GLANCE_MS = 10_000;
const CURIOUS_MS = 30_000;
const FIRST_MS = 5000; // a page that comes looks once whether something runs
const ABSENT_MS = 30_000;

export function isActive(run: IRun): boolean {
  return !ENDED.has(run.state);
}

/** Holds the newest state, asks for news as often as somebody looks, and says how old it is. */
export class ComputeModel implements IDisposable {
  copy = new Copy();

  constructor(readonly wire: Wire) {
    this._poll = new Poll({
      name: 'jupyter-compute:state',
      factory: () => this._ask(),
      frequency: { interval: GLANCE_MS, backoff: true },
      standby: () => document.hidden || !this._worthAsking
    });
    this._ticker = window.setInterval(() => this._tick(), 1000);
    document.addEventListener('visibilitychange', this._onVisibility);
  }

  /** Emitted when what is to be shown has changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  /** Why there is nothing to show, or nothing newer, and what to do; empty if all is well. */
  get problem(): { message: string; hint: string } {
    const { message, hint } = this._refusal ?? this._absence ?? { message: '', hint: '' };
    return { message, hint };
  }

  /** Seconds since the pool was heard last; null if it has not been. */
  get age(): number | null {
    return this._heard === null ? null : (performance.now() - this._heard) / 1000;
  }

  /** The pool's time, in UTC seconds. */
  get now(): number {
    return Date.now() / 1000 + this._ahead;
  }

  get state(): PanelState {
    const refused = this._refusal?.status;
    const absent = this._absence?.pool;
    if (refused === 404) {
      return 'no-server';
    }
    const stops = this._stopping !== null && performance.now() - this._stopping < STOPPING_MS;
    if (stops || (absent === 'stopping' && refused === undefined)) {
      return 'stopping';
    }
    if ((refused && refused < 502) || absent === 'other-version') {
      return 'error';
    }
    if (absent === 'none' && refused === undefined) {
      return 'no-pool';
    }
    if (this._heard === null) {
      // A pool that has just been started listens before it answers.
      return refused === undefined && absent !== 'lost' ? 'connecting' : 'error';
    }
    if (this._resuming) {
      return 'connecting';
    }
    const old = (this.age ?? 0) > this._patience;
    if (refused !== undefined || absent !== undefined || (old && this._worthAsking)) {
      return 'stale';
    }
    if (old) {
      return 'connecting'; // as soon as somebody looks
    }
    return this.copy.runs.size === 0 ? 'empty' : 'live';
  }

  get activeRuns(): IRun[] {
    return [...this.copy.runs.values()].filter(isActive);
  }

  /** Say whether the panel can be seen, and how many seconds may pass between two answers. */
  watch(seen: boolean, interval_s: number): void {
    const came = seen && !this._seen;
    this._curiousUntil = this._seen && !seen ? 0 : this._curiousUntil; // all has been seen
    this._seen = seen;
    this._interval = interval_s * 1000;
    this._pace();
    if (came) {
      this.resume();
    }
  }

  /** Ask now, as something may have happened. */
  resume(): void {
    this.glance();
    this._resuming = this._heard !== null && (this.age ?? 0) > this._patience;
    this._poll.refresh().catch(() => undefined);
    this._changed.emit();
  }

  /** Ask now, whoever looks, and wait until that has been answered, or cannot be. */
  news(): Promise<void> {
    return new Promise(done => {
      this._waiting.push(done);
      this.resume();
    });
  }

  /** Have a look now and then for a while, though nobody sees the panel: a cell has been run. */
  glance(): void {
    this._curiousUntil = performance.now() + CURIOUS_MS;
  }

  async cancel(run: string): Promise<void> {
    await this.wire.cancel(run);
    this.resume();
  }

  async stopMachine(machine: string): Promise<void> {
    await this.wire.stopMachine(machine);
    this.resume();
  }

  async stopPool(): Promise<void> {
    this._stopping = performance.now();
    this._changed.emit();
    try {
      await this.wire.stopPool(true);
    } catch (error) {
      this._stopping = null;
      throw error;
    } finally {
      this.resume();
    }
  }

  dispose(): void {
    if (!this.isDisposed) {
      document.removeEventListener('visibilitychange', this._onVisibility);
      window.clearInterval(this._ticker);
      this._poll.dispose();
      Signal.clearData(this);
    }
  }

  private get _patience(): number {
    return Math.max(STALE_S, 3 * (this._poll.frequency.interval / 1000));
  }

  /** A glance is worth it only while something runs or costs, or may have begun to. */
  private get _worthAsking(): boolean {
    const { usd_per_hour } = this.copy.cost;
    const curious = this._seen || performance.now() < this._curiousUntil;
    return curious || this.activeRuns.length > 0 || (usd_per_hour ?? 0) > 0;
  }

  private async _ask(): Promise<void> {
    try {
      this._take(await this.wire.state(this.copy.cursor));
      this._refusal = null;
    } catch (error) {
      this._refusal = error instanceof Refusal ? error : new Refusal(500, String(error), '');
      throw error;
    } finally {
      this._resuming = false;
      this._pace();
      this._changed.emit();
      this._waiting.splice(0).forEach(done => done());
    }
  }

  private _take(answer: INews | IAbsence): void {
    this._absence = answer.pool === 'live' ? null : answer;
    if (answer.pool === 'live') {
      this._heard = performance.now();
      this._ahead = answer.time - Date.now() / 1000;
      this.copy = answer.resync ? new Copy() : this.copy;
      this.copy.take(answer);
    } else if (answer.pool === 'none') {
      this._heard = null;
      this._stopping = null;
      this.copy = new Copy();
    }
  }

  private _pace(): void {
    const absent = this._refusal?.status === 404;
    const interval = absent ? ABSENT_MS : this._seen ? this._interval : GLANCE_MS;
    if (this._poll.frequency.interval !== interval) {
      this._poll.frequency = { interval, backoff: true, max: Math.max(5000, interval) };
    }
  }

  /** Tell how old is what is shown although no answer comes, and what it is no more. */
  private _tick(): void {
    const late = this.age !== null && this.age > this._patience;
    if ((late && this._seen && !document.hidden) || this.state !== this._told) {
      this._changed.emit();
    }
    this._told = this.state;
  }

  private _onVisibility = (): void => {
    if (!document.hidden && this._worthAsking) {
      this.resume();
    }
  };

  private _poll: Poll<void, unknown>;
  private _ticker: number;
  private _changed = new Signal<this, void>(this);
  private _interval = 1000;
  private _seen = false;
  private _absence: IAbsence | null = null;
  private _heard: number | null = null;
  private _ahead = 0;
  private _refusal: Refusal | null = null;
  private _resuming = false;
  private _curiousUntil = performance.now() + FIRST_MS;
  private _stopping: number | null = null;
  private _told: PanelState = 'connecting';
  private _waiting: (() => void)[] = [];
}
