/**
 * What the Jupyter server tells about the pool, the copy of it that this page holds, and what
 * the server can be asked to do.
 *
 * Sizes are bytes, durations seconds, prices dollars, times UTC seconds; unknown is null.
 */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import { extend, extendAll, Point, SPAN_S } from './figures';

export type RunState = 'queued' | 'starting' | 'running' | 'done' | 'failed' | 'cancelled' | 'lost';

export interface IAsk {
  cpu: number;
  memory: number | null;
  memory_high: number | null;
  gpu?: number;
}

export interface IReceipt {
  wait_s: number;
  run_s: number;
  attempts: number;
  cpu_mean: number | null;
  memory_peak: number | null;
  cost_usd: number | null;
  advice: string;
  advised: Partial<IAsk> | null; // the ask that would have done
  items: number | null;
}

export interface IRun {
  id: string;
  name: string;
  notebook: string; // its file name; empty if unknown, like the number of the cell
  cell: string;
  state: RunState;
  reason: string;
  ask: IAsk;
  layer: string;
  machine: string | null;
  machine_id: string | null;
  attempt: number;
  created: number;
  started: number | null;
  finished: number | null;
  cpu_used: number | null;
  memory_used: number | null;
  memory_peak: number | null;
  usd: number | null;
  receipt: IReceipt | null;
  error: string;
}

export interface IMachine {
  id: string;
  layer: string;
  type: string;
  state: string;
  spot: boolean | null;
  usd_per_hour: number | null;
  cpu: number;
  memory: number;
  cpu_used: number | null;
  memory_used: number | null;
  started: number | null;
  idle_s: number | null;
  ends: number | null; // when it does if nothing runs until then
  runs: number;
}

export type ICost = Record<'usd_per_hour' | 'today' | 'active' | 'idle' | 'budget_day', number | null>;

/** Receipts summed up, and of how many of the runs the cost is not known. */
export type ISum = { runs: number; usd: number | null; usd_unknown_runs: number };

/** What runs that have ended cost: today's, and those of the days until then, newest first. */
export interface ISpending {
  day: string; // of the pool's computer, e.g. 2026-11-23
  notebooks: (ISum & { notebook: string })[];
  others: (ISum & { notebooks: number }) | null;
  days: (ISum & { day: string })[];
}

/** Sums over the whole pool, of which the machines and runs told may be a part. */
export interface ITotals {
  machines: number;
  cpu: number;
  memory: number;
  cpu_used: number | null;
  memory_used: number | null;
}

/** Values at every `step`-th second from `t` on; those of the whole pool at every one. */
export interface IColumns {
  t: number;
  cpu: (number | null)[];
  memory: (number | null)[];
}

/** Why there is no pool to speak to. */
export interface IAbsence {
  pool: 'none' | 'stopping' | 'lost' | 'silent' | 'other-version';
  message: string;
  hint: string;
}

/** All there is, or after `resync: false` what has changed: of known items, the changed fields. */
export interface INews {
  pool: 'live';
  cursor: string;
  time: number;
  resync: boolean;
  machines: (Partial<IMachine> & { id: string })[];
  runs: (Partial<IRun> & { id: string })[];
  gone: { machines: string[]; runs: string[] };
  samples: {
    step: number;
    pool: IColumns;
    machines: Record<string, IColumns>;
    runs: Record<string, IColumns>;
  };
  cost: ICost;
  spending?: ISpending; // if it has changed
  totals: ITotals;
  omitted: { machines: number; runs: number };
}

/** The copy of the pool's state, brought up to date by every answer until a resync. */
export class Copy {
  readonly machines = new Map<string, IMachine>();
  readonly runs = new Map<string, IRun>();
  readonly history = {
    pool: [] as Point[],
    machines: new Map<string, Point[]>(),
    runs: new Map<string, Point[]>()
  };
  cost: ICost = { usd_per_hour: null, today: null, active: null, idle: null, budget_day: null };
  spending: ISpending | null = null;
  totals: ITotals = { machines: 0, cpu: 0, memory: 0, cpu_used: null, memory_used: null };
  omitted = { machines: 0, runs: 0 }; // those that the pool has besides
  /** What this copy is up to date with; "0" for nothing. */
  cursor = '0';

  take(answer: INews): void {
    this.cursor = answer.cursor;
    merge(this.machines, answer.machines, answer.gone.machines);
    merge(this.runs, answer.runs, answer.gone.runs);
    const { step, pool, machines, runs } = answer.samples;
    const from = answer.time - SPAN_S;
    this.history.pool = extend(this.history.pool, pool, 1, from);
    extendAll(this.history.machines, machines, step, from, this.machines);
    extendAll(this.history.runs, runs, step, from, this.runs);
    this.cost = answer.cost;
    this.spending = answer.spending ?? this.spending;
    this.totals = answer.totals;
    this.omitted = answer.omitted;
  }
}

function merge<T extends { id: string }>(
  known: Map<string, T>,
  news: (Partial<T> & { id: string })[],
  gone: string[]
): void {
  gone.forEach(id => known.delete(id));
  for (const item of news) {
    known.set(item.id, { ...known.get(item.id), ...item } as T);
  }
}

export interface IOffer {
  layer: string;
  type: string;
  cpu: number;
  memory: number;
  gpu: number;
  usd_per_hour: number | null;
}

export interface ILayer {
  name: string;
  offers: IOffer[];
}

/** The server refused, in its own words, or with status 0 did not answer at all. */
export class Refusal extends Error {
  constructor(readonly status: number, message: string, readonly hint: string) {
    super(message);
  }
}

const SILENCE = new Refusal(0, 'the Jupyter server does not answer', 'is it still running?');
/** Longer than the server's own, which says more. */
const PATIENCE_MS = 8000;
/** The calls that the Jupyter server takes. Each raises `Refusal`. */
export class Wire {
  constructor(private _settings: ServerConnection.ISettings) {}

  state(since: string): Promise<INews | IAbsence> {
    return this._call<INews | IAbsence>('GET', `state?since=${encodeURIComponent(since)}`);
  }

  async layers(): Promise<ILayer[]> {
    return (await this._call<{ layers: ILayer[] | null }>('GET', 'layers')).layers ?? [];
  }

  cancel(run: string): Promise<unknown> {
    return this._call('POST', `runs/${encodeURIComponent(run)}/cancel`);
  }

  stopMachine(machine: string): Promise<unknown> {
    return this._call('POST', `machines/${encodeURIComponent(machine)}/stop`);
  }

  stopPool(force: boolean): Promise<unknown> {
    return this._call('POST', 'pool/stop', { force });
  }

  private async _call<T>(method: string, path: string, body: object = {}): Promise<T> {
    const url = URLExt.join(this._settings.baseUrl, 'jupyter-compute', path);
    const late = new AbortController();
    const timer = window.setTimeout(() => late.abort(), PATIENCE_MS);
    const headers = { 'Content-Type': 'application/json' };
    const sent = method === 'GET' ? {} : { body: JSON.stringify(body), headers };
    const init: RequestInit = { method, signal: late.signal, cache: 'no-store', ...sent };
    try {
      const response = await ServerConnection.makeRequest(url, init, this._settings);
      const answer: unknown = await response.json().catch(() => null);
      if (!response.ok || answer === null) {
        throw refusal(response.status, answer);
      }
      return answer as T;
    } catch (error) {
      throw error instanceof Refusal ? error : SILENCE;
    } finally {
      window.clearTimeout(timer);
    }
  }
}

function refusal(status: number, answer: unknown): Refusal {
  const told = (answer ?? {}) as { message?: unknown; hint?: unknown };
  const message = typeof told.message === 'string' ? told.message : `HTTP ${status}`;
  return new Refusal(status, message, typeof told.hint === 'string' ? told.hint : '');
}
