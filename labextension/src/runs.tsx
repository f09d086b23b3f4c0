/** The section of runs: what waits and why, what runs and what it uses, what has ended and how. */
import { TranslationBundle } from '@jupyterlab/translation';
import { closeIcon, copyIcon, LabIcon, linkIcon } from '@jupyterlab/ui-components';
import React from 'react';
import { clock, cpus, duration, memory, Meter, money, number, percent, Point, share, Spark, Value } from './figures';
import { ComputeModel, isActive } from './model';
import { IRun } from './wire';

/** Carries out a command of the panel, e.g. `cancel`, on a run or machine. */
export type Act = (command: string, id: string) => void;

/** From which cost of a day on the user wants to be warned; nothing stops because of it. */
export interface IWarning {
  /** Dollars; 0 for never. */
  above: number;
  /** Keep another amount; null where there are no settings. */
  keep: ((usd: number) => Promise<void>) | null;
}

export interface ISectionProps {
  model: ComputeModel;
  trans: TranslationBundle;
  act: Act;
  warning: IWarning;
}

const SHOWN_AT_FIRST = 20;
const ORDER = ['running', 'starting', 'queued'];

export function RunsSection({ model, trans, act }: ISectionProps): JSX.Element {
  const [all, setAll] = React.useState(false);
  const runs = [...model.copy.runs.values()];
  const active = runs.filter(isActive).sort(byRank);
  const ended = runs.filter(run => !isActive(run)).sort(byEnd);
  const shown = [...active, ...ended].slice(0, all ? undefined : SHOWN_AT_FIRST);
  const more = runs.length - shown.length;
  if (runs.length === 0) {
    return (
      <p className="jc-Hint">
        {trans.__('Nothing has run yet. Begin a cell with %1, or use Run Cell Remotely… in its toolbar.', '%%remote')}
      </p>
    );
  }
  return (
    <>
      <ul className="jc-List">
        {shown.map(run => (
          <Row key={run.id} {...{ run, trans, act }} now={model.now} points={pointsOf(model, run)} />
        ))}
      </ul>
      {more > 0 && (
        <button className="jc-More" onClick={() => setAll(true)}>
          {trans.__('Show %1 more', more)}
        </button>
      )}
      {model.copy.omitted.runs > 0 && (
        <p className="jc-Hint">
          {trans.__('%1 more runs: %2 lists them.', model.copy.omitted.runs, '%compute runs')}
        </p>
      )}
    </>
  );
}

interface IRowProps {
  run: IRun;
  trans: TranslationBundle;
  act: Act;
  now: number;
  points: readonly Point[];
}

function Row(props: IRowProps): JSX.Element {
  const { run, trans, act } = props;
  const place = [run.notebook, run.cell && `[${run.cell}]`].filter(Boolean).join(' ');
  return (
    <li className="jc-Row" data-run-id={run.id} data-state={run.state}>
      <div className="jc-Line">
        <button
          className="jc-Name"
          data-command="goto"
          title={trans.__('Go to the cell of %1', run.id)}
          onClick={() => act('goto', run.id)}
        >
          {run.name || run.id}
        </button>
        <Action {...{ act, run }} command="copy" icon={copyIcon} label={trans.__('Copy as %1 line', '%%remote')} />
        <Action {...{ act, run }} command="attach" icon={linkIcon} label={trans.__('Attach in this notebook')} />
        {isActive(run) && (
          <Action {...{ act, run }} command="cancel" icon={closeIcon} label={trans.__('Cancel')} />
        )}
      </div>
      <div className="jc-Line jc-Muted">
        <span className="jc-State">{stateName(run, trans)}</span>
        <span className="jc-Place" title={place}>
          {place}
        </span>
      </div>
      {run.state === 'running' ? <Use {...props} /> : <Words {...props} />}
    </li>
  );
}

function Action(props: {
  act: Act;
  run: IRun;
  command: string;
  icon: LabIcon;
  label: string;
}): JSX.Element {
  const { act, run, command, icon, label } = props;
  return (
    <button
      className="jc-Action"
      data-command={command}
      title={label}
      aria-label={`${label}: ${run.name || run.id}`}
      onClick={() => act(command, run.id)}
    >
      <icon.react tag="span" width="12px" />
    </button>
  );
}

/** What a run that is running uses of what it was granted. */
function Use({ run, trans, now, points }: IRowProps): JSX.Element {
  const cpu = `${cpus(run.cpu_used)} / ${number(run.ask.cpu, 2)}`;
  const size = share(run.memory_used, run.ask.memory);
  return (
    <>
      <div className="jc-Line">
        <Value name="elapsed">{clock(run.started === null ? null : now - run.started)}</Value>
        {run.attempt > 1 && <Value name="attempt">{trans.__('attempt %1', run.attempt)}</Value>}
        <Value name="machine" className="jc-Muted jc-Place">
          {run.machine ?? ''}
        </Value>
        <Value name="usd">{money(run.usd)}</Value>
      </div>
      <div className="jc-Line">
        <span className="jc-Label">{trans.__('cpu')}</span>
        <Meter label={trans.__('CPUs used')} text={cpu} value={run.cpu_used} most={run.ask.cpu} />
        <Value name="cpu_used">{cpu}</Value>
      </div>
      <div className="jc-Line">
        <span className="jc-Label">{trans.__('memory')}</span>
        <Meter
          label={trans.__('Memory used')}
          text={size}
          value={run.memory_used}
          most={run.ask.memory}
        />
        <Value name="memory_used">{size}</Value>
      </div>
      <Spark label={trans.__('CPUs used: %1', cpu)} points={points} column={1} most={run.ask.cpu} now={now} />
    </>
  );
}

/** Why a run waits, or how it ended and what it took. */
function Words({ run, trans, now }: IRowProps): JSX.Element {
  const { receipt } = run;
  if (isActive(run)) {
    return (
      <div className="jc-Words">
        <Value name="reason">{run.reason}</Value>
        {run.reason && ' · '}
        <Value name="waited">{clock(now - run.created)}</Value>
      </div>
    );
  }
  const parts: [string, string][] = [];
  if (receipt) {
    parts.push(['run_s', run.started === null ? '' : duration(receipt.run_s)]);
    parts.push(['machine', run.machine ?? '']);
    if (receipt.wait_s >= 1) {
      parts.push(['wait_s', trans.__('waited %1', duration(receipt.wait_s))]);
    }
    if (receipt.attempts > 1 && receipt.items === null) {
      parts.push(['attempt', trans.__('%1 attempts', receipt.attempts)]);
    }
    if (receipt.cpu_mean !== null && run.ask.cpu) {
      parts.push(['cpu_mean', trans.__('cpu %1', percent(receipt.cpu_mean / run.ask.cpu))]);
    }
    if (receipt.memory_peak !== null) {
      const [peak, most] = [memory(receipt.memory_peak), memory(run.ask.memory)];
      parts.push(['memory_peak', trans.__('peak %1 of %2', peak, most)]);
    }
    parts.push(['usd', money(receipt.cost_usd)]);
  }
  return (
    <div className="jc-Words">
      {run.error && (
        <div className="jc-Error" data-value="error">
          {run.error}
        </div>
      )}
      {parts
        .filter(([, text]) => text)
        .map(([name, text], i) => (
          <React.Fragment key={name}>
            {i > 0 && ' · '}
            <Value name={name}>{text}</Value>
          </React.Fragment>
        ))}
      {receipt?.advice && <div className="jc-Advice">{receipt.advice}</div>}
    </div>
  );
}

function stateName(run: IRun, trans: TranslationBundle): string {
  const names: Record<string, string> = {
    queued: trans.__('queued'),
    starting: trans.__('starting'),
    running: trans.__('running'),
    done: trans.__('✓ done'),
    failed: trans.__('✗ failed'),
    cancelled: trans.__('✗ cancelled'),
    lost: trans.__('✗ lost')
  };
  return names[run.state] ?? run.state;
}

function pointsOf(model: ComputeModel, run: IRun): readonly Point[] {
  return model.copy.history.runs.get(run.id) ?? [];
}

function byRank(a: IRun, b: IRun): number {
  return ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || a.created - b.created;
}

function byEnd(a: IRun, b: IRun): number {
  return (b.finished ?? 0) - (a.finished ?? 0);
}
