/** Numbers, sizes, times and money as people read them; curves, kept for minutes and drawn. */
import React from 'react';
import { IColumns } from './wire';

/** UTC seconds, CPUs, bytes. */
export type Point = [number, number | null, number | null];

/** How far back the curves reach. */
export const SPAN_S = 300;

/** What stands for a number that is not known. */
export const UNKNOWN = '–';

const SIZES = ['B', 'kB', 'MB', 'GB', 'TB'];

export function memory(bytes: number | null | undefined): string {
  if (bytes === null || bytes === undefined) {
    return UNKNOWN;
  }
  const power = powerOf(bytes);
  const size = bytes / 1000 ** power;
  const digits = power > 0 && size < 10 ? 1 : 0;
  return `${number(size, digits)} ${SIZES[power]}`;
}

/** How much of it is used, in the unit of the whole. */
export function share(bytes: number | null, most: number | null): string {
  const used = bytes === null || most === null ? memory(bytes) : cpus(bytes / 1000 ** powerOf(most));
  return `${used} / ${memory(most)}`;
}

function powerOf(bytes: number): number {
  return bytes < 1 ? 0 : Math.min(SIZES.length - 1, Math.floor(Math.log10(bytes) / 3));
}

export function number(value: number | null | undefined, digits = 0): string {
  return value === null || value === undefined
    ? UNKNOWN
    : value.toLocaleString(undefined, { maximumFractionDigits: digits });
}

export function percent(part: number): string {
  return part.toLocaleString(undefined, { style: 'percent' });
}

/** How much is in use: one decimal always, so that the text keeps its width. */
export function cpus(value: number | null | undefined): string {
  return value === null || value === undefined
    ? UNKNOWN
    : value.toLocaleString(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
}

/** A duration as a clock shows it. */
export function clock(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) {
    return UNKNOWN;
  }
  const whole = Math.max(0, Math.floor(seconds));
  const two = (n: number): string => String(n).padStart(2, '0');
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${two(minutes)}:${two(whole % 60)}`;
}

type Unit = [number, string];
const UNITS: Unit[] = [[86400, 'day'], [3600, 'hour'], [60, 'minute'], [1, 'second'], [0.001, 'millisecond']];

/** A duration in its two leading units, the second one rounded down. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) {
    return UNKNOWN;
  }
  const show = (value: number, [, unit]: Unit, maximumFractionDigits = 0): string =>
    value.toLocaleString(undefined, { style: 'unit', unit, unitDisplay: 'short', maximumFractionDigits });
  const unit = UNITS.find(([least]) => seconds >= least) ?? UNITS[3];
  if (unit[0] <= 1) {
    return show(seconds / unit[0], unit, unit[0] === 1 && seconds < 10 ? 1 : 0);
  }
  const [least, next] = [unit[0], UNITS[UNITS.indexOf(unit) + 1]];
  const rest = Math.floor((seconds % least) / next[0]);
  return [show(Math.floor(seconds / least), unit), rest && show(rest, next)].filter(Boolean).join(' ');
}

/** A date like 2026-11-23, in any time zone. */
export function day(date: string): string {
  const options = { weekday: 'short', month: 'short', day: 'numeric', timeZone: 'UTC' } as const;
  return new Date(`${date}T00:00Z`).toLocaleDateString(undefined, options);
}

export type CurrencyFormat = 'symbol' | 'code';

let currencyDisplay: CurrencyFormat = 'symbol';

/** Set how dollars are marked everywhere. */
export function setCurrencyFormat(format: CurrencyFormat): void {
  currencyDisplay = format;
}

/** Dollars to the cent, or to two figures below one. */
export function money(usd: number | null | undefined): string {
  if (usd === null || usd === undefined) {
    return UNKNOWN;
  }
  const small = usd > 0 && usd < 0.01;
  return usd.toLocaleString(undefined, {
    style: 'currency',
    currency: 'USD',
    currencyDisplay: currencyDisplay === 'symbol' ? 'narrowSymbol' : 'code',
    ...(small
      ? { minimumSignificantDigits: 1, maximumSignificantDigits: 2 }
      : { minimumFractionDigits: usd === 0 ? 0 : 2, maximumFractionDigits: 2 })
  });
}

/** A number with a name, so that tests and other tools find it. */
export function Value(props: { name: string; className?: string; children: string }): JSX.Element {
  return (
    <span data-value={props.name} className={`jc-Value ${props.className ?? ''}`}>
      {props.children}
    </span>
  );
}

/** How much of something is used. */
export function Meter(props: {
  label: string;
  text: string;
  value: number | null;
  most: number | null;
}): JSX.Element {
  const { label, text, value, most } = props;
  const share = value === null || !most ? 0 : Math.min(1, value / most);
  return (
    <span
      className="jc-Meter"
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(100 * share)}
      aria-valuetext={text}
      data-high={share > 0.9 || undefined}
    >
      <span style={{ width: `${(100 * share).toFixed(1)}%` }} />
    </span>
  );
}

const [WIDTH, HEIGHT] = [150, 24];
/** Nothing is drawn across more than a minute without values. */
const GAP = 30;

/** A curve over the last five minutes; where nothing is known it has a gap. */
export function Spark(props: {
  label: string;
  points: readonly Point[];
  column: 1 | 2;
  most: number;
  now: number;
}): JSX.Element {
  const { label, points, column, most, now } = props;
  const [line, area]: [string[], string[]] = [[], []];
  let left: number | null = null;
  let last = 0;
  const close = (): void => {
    if (left !== null) {
      area.push(`V${HEIGHT}H${left.toFixed(1)}Z`);
    }
    left = null;
  };
  for (const point of points) {
    const value = point[column];
    const x = WIDTH - ((now - point[0]) * WIDTH) / SPAN_S;
    if (value === null || x < 0 || x - last > GAP) {
      close();
    }
    if (value !== null && x >= 0) {
      const y = HEIGHT - 1 - (HEIGHT - 2) * Math.min(1, most ? value / most : 0);
      const step = `${left === null ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`;
      left = left ?? x;
      last = x;
      line.push(step);
      area.push(step);
    }
  }
  close();
  return (
    <svg
      className="jc-Spark"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
    >
      <path className="jc-Area" d={area.join('') || 'M0 0'} />
      <path className="jc-Curve" d={line.join('') || 'M0 0'} />
    </svg>
  );
}

/** A curve with what it says now. */
export function Curve(props: {
  label: string;
  name: string;
  text: string;
  points: readonly Point[];
  column: 1 | 2;
  most: number;
  now: number;
}): JSX.Element {
  const { label, name, text, ...curve } = props;
  return (
    <div>
      <div className="jc-Line">
        <span>{label}</span>
        <Value name={name}>{text}</Value>
      </div>
      <Spark label={`${label}: ${text}`} {...curve} />
    </div>
  );
}

/** Add new values to a curve, and drop those from before `from`. */
export function extend(points: Point[], columns: IColumns, step: number, from: number): Point[] {
  const last = points.length ? points[points.length - 1][0] : -Infinity;
  const added = columns.cpu
    .map((cpu, i): Point => [columns.t + i * step, cpu, columns.memory[i]])
    .filter(point => point[0] > last);
  return [...points, ...added].filter(point => point[0] >= from);
}

/** Do so with many curves, and drop those of what is no more. */
export function extendAll(
  histories: Map<string, Point[]>,
  columns: Record<string, IColumns>,
  step: number,
  from: number,
  alive: ReadonlyMap<string, unknown>
): void {
  for (const [id, added] of Object.entries(columns)) {
    histories.set(id, extend(histories.get(id) ?? [], added, step, from));
  }
  for (const id of histories.keys()) {
    if (!alive.has(id)) {
      histories.delete(id);
    }
  }
}
