/** The sections of the pool as a whole: what is used now, its machines, and what it costs. */
import { stopIcon } from '@jupyterlab/ui-components';
import React from 'react';
import { cpus, duration, Meter, money, number, Point, share, Spark, Value } from './figures';
import { ISectionProps } from './runs';
import { IMachine, IRun } from './wire';

export function NowSection({ model, trans }: ISectionProps): JSX.Element {
  const { totals, cost, history } = model.copy;
  const { now } = model;
  const { today, budget_day: budget } = cost;
  const spent = budget === null ? money(today) : `${money(today)} / ${money(budget)}`;
  return (
    <>
      <div className="jc-Line">
        <span>{trans.__('Machines')}</span>
        <Value name="machines">{number(totals.machines)}</Value>
        <Value name="usd_per_hour">{trans.__('%1/h', money(cost.usd_per_hour))}</Value>
      </div>
      <Curve
        label={trans.__('CPU')}
        name="cpu_used"
        text={`${cpus(totals.cpu_used)} / ${number(totals.cpu, 2)}`}
        points={history.pool}
        column={1}
        most={totals.cpu}
        now={now}
      />
      <Curve
        label={trans.__('Memory')}
        name="memory_used"
        text={share(totals.memory_used, totals.memory)}
        points={history.pool}
        column={2}
        most={totals.memory}
        now={now}
      />
      <div className="jc-Line">
        <span className="jc-Label">{trans.__('Today')}</span>
        {budget !== null && (
          <Meter label={trans.__('Budget of today')} text={spent} value={today} most={budget} />
        )}
        <Value name="today">{spent}</Value>
      </div>
    </>
  );
}

function Curve(props: {
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

export function MachinesSection(props: ISectionProps): JSX.Element {
  const { model, trans } = props;
  const machines = [...model.copy.machines.values()];
  if (machines.length === 0) {
    return <p className="jc-Hint">{trans.__('No machine is running. One is started when a run needs it.')}</p>;
  }
  return (
    <>
      <ul className="jc-List">
        {machines.map(machine => (
          <Machine key={machine.id} machine={machine} {...props} />
        ))}
      </ul>
      {model.copy.omitted.machines > 0 && (
        <p className="jc-Hint">{trans.__('and %1 more', model.copy.omitted.machines)}</p>
      )}
    </>
  );
}

function Machine({ machine, model, trans, act }: ISectionProps & { machine: IMachine }): JSX.Element {
  const points = model.copy.history.machines.get(machine.id) ?? [];
  const { now } = model;
  const facts = [
    machine.layer,
    machine.spot && trans.__('spot'),
    machine.started !== null && trans.__('%1 old', duration(now - machine.started))
  ];
  const cpu = `${cpus(machine.cpu_used)} / ${number(machine.cpu, 2)}`;
  const size = share(machine.memory_used, machine.memory);
  return (
    <li className="jc-Row" data-machine-id={machine.id} data-state={machine.state}>
      <div className="jc-Line">
        <span className="jc-Name" title={machine.id}>
          {machine.type}
        </span>
        <button
          className="jc-Action"
          data-command="stop"
          title={trans.__('Stop this machine')}
          aria-label={trans.__('Stop machine %1', machine.id)}
          onClick={() => act('stop', machine.id)}
        >
          <stopIcon.react tag="span" width="12px" />
        </button>
      </div>
      <div className="jc-Line jc-Muted">
        <span className="jc-State">{machine.state}</span>
        <span className="jc-Place">{facts.filter(Boolean).join(' · ')}</span>
        <Value name="usd_per_hour">{trans.__('%1/h', money(machine.usd_per_hour))}</Value>
      </div>
      <div className="jc-Line jc-Muted">
        {machine.runs > 0 || machine.idle_s === null ? (
          <Value name="runs">{trans._n('%1 run', '%1 runs', machine.runs, machine.runs)}</Value>
        ) : (
          <Value name="idle_s">{trans.__('idle for %1', duration(machine.idle_s))}</Value>
        )}
      </div>
      <Curve label={trans.__('CPU')} name="cpu_used" text={cpu} column={1} most={machine.cpu} {...{ points, now }} />
      <Curve
        label={trans.__('Memory')}
        name="memory_used"
        text={size}
        column={2}
        most={machine.memory}
        {...{ points, now }}
      />
    </li>
  );
}

export function CostSection({ model, trans }: ISectionProps): JSX.Element {
  const { cost, omitted } = model.copy;
  const runs = [...model.copy.runs.values()];
  const unnamed = trans.__('no notebook');
  return (
    <>
      <div className="jc-Line">
        <span>{trans.__('Today')}</span>
        <Value name="today">{money(cost.today)}</Value>
      </div>
      <div className="jc-Line">
        <span>{trans.__('Budget of a day')}</span>
        <Value name="budget_day">
          {cost.budget_day === null ? trans.__('none') : money(cost.budget_day)}
        </Value>
      </div>
      <Bars title={trans.__('By notebook')} sums={sums(runs, run => run.notebook || unnamed)} />
      <Bars title={trans.__('By day')} sums={sums(runs, dayOf)} />
      {omitted.runs > 0 && (
        <p className="jc-Hint">{trans.__('Of the runs shown above; %1 has them all.', '%compute cost')}</p>
      )}
    </>
  );
}

/** Sums of known costs; null where none is known. */
type Sums = [string, number | null][];

function Bars({ title, sums }: { title: string; sums: Sums }): JSX.Element | null {
  const most = Math.max(0, ...sums.map(([, usd]) => usd ?? 0));
  return sums.length === 0 ? null : (
    <>
      <h3 className="jc-Subtitle">{title}</h3>
      <ul className="jc-List">
        {sums.map(([name, usd]) => (
          <li key={name} className="jc-Line jc-Bar" data-cost-of={name}>
            <span className="jc-Place" title={name}>
              {name}
            </span>
            {most > 0 && <Meter label={name} text={money(usd)} value={usd} most={most} />}
            <Value name="usd">{money(usd)}</Value>
          </li>
        ))}
      </ul>
    </>
  );
}

function sums(runs: IRun[], of: (run: IRun) => string): Sums {
  const found = new Map<string, number | null>();
  for (const run of runs) {
    const [name, usd] = [of(run), run.receipt ? run.receipt.cost_usd : run.usd];
    const before = found.get(name) ?? null;
    found.set(name, usd === null ? before : (before ?? 0) + usd);
  }
  return [...found];
}

function dayOf(run: IRun): string {
  const day = new Date((run.finished ?? run.started ?? run.created) * 1000);
  return day.toLocaleDateString(undefined, { month: 'short', day: 'numeric' });
}
