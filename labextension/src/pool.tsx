/** The sections of the pool as a whole: what is used now, its machines, and what it costs. */
import { TranslationBundle } from '@jupyterlab/translation';
import { stopIcon } from '@jupyterlab/ui-components';
import React from 'react';
import { cpus, Curve, day, duration, Meter, money, number, share, Value } from './figures';
import { ISectionProps } from './runs';
import { IMachine, ISum } from './wire';

export function NowSection(props: ISectionProps): JSX.Element {
  const { model, trans } = props;
  const { totals, cost, history } = model.copy;
  const { now } = model;
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
      <Today {...props} />
    </>
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
    machine.layer !== machine.type && machine.layer,
    machine.spot && trans.__('spot'),
    machine.started !== null && trans.__('%1 old', duration(now - machine.started))
  ];
  const names: Record<string, string> = {
    starting: trans.__('starting'),
    ready: trans.__('ready'),
    draining: trans.__('draining'),
    ending: trans.__('ending')
  };
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
        <span className="jc-State">{names[machine.state] ?? machine.state}</span>
        <span className="jc-Place">{facts.filter(Boolean).join(' · ')}</span>
        <Value name="usd_per_hour">{trans.__('%1/h', money(machine.usd_per_hour))}</Value>
      </div>
      <div className="jc-Line jc-Muted">
        {machine.runs > 0 || machine.idle_s === null ? (
          <Value name="runs">{trans._n('%1 run', '%1 runs', machine.runs, machine.runs)}</Value>
        ) : (
          <Value name="idle_s">{trans.__('idle for %1', duration(machine.idle_s))}</Value>
        )}
        {machine.ends !== null && (
          <Value name="ends">{trans.__('ends in %1', duration(Math.max(0, machine.ends - now)))}</Value>
        )}
      </div>
      <Curve label={trans.__('CPU')} name="cpu_used" text={cpu} column={1} most={machine.cpu} {...{ points, now }} />
      <Curve label={trans.__('Memory')} name="memory_used" text={size} column={2} most={machine.memory} {...{ points, now }} />
    </li>
  );
}

export function CostSection(props: ISectionProps): JSX.Element {
  const { model, trans } = props;
  const { cost, spending } = model.copy;
  const others = spending?.others;
  const days = spending?.days ?? [];
  const ran = days.map(({ runs }, i) => runs > 0 || i === 0).lastIndexOf(true);
  return (
    <>
      <Today {...props} />
      {model.activeRuns.length > 0 && (
        <div className="jc-Line jc-Muted">
          <span>{trans.__('of that, runs going on')}</span>
          <Value name="active">{money(cost.active)}</Value>
        </div>
      )}
      {spending && (
        <>
          <Bars
            title={trans.__('Ended today, by notebook')}
            trans={trans}
            sums={[
              ...spending.notebooks.map(sum => ({ ...sum, name: sum.notebook || trans.__('no notebook') })),
              ...(others ? [{ ...others, name: trans.__('%1 others', others.notebooks) }] : [])
            ]}
          />
          <Bars
            title={trans.__('Ended, by day')}
            trans={trans}
            sums={days.slice(0, ran + 1).map(sum => ({ ...sum, name: day(sum.day) }))}
          />
        </>
      )}
      <WarnAbove {...props} />
    </>
  );
}

/** What today costs, against its budget, or else against the amount that the user set. */
function Today({ model, trans, warning: { above } }: ISectionProps): JSX.Element {
  const { today, idle, budget_day: budget } = model.copy.cost;
  const most = budget ?? above;
  const told = budget === null ? trans.__('Cost of today, warning at %1', money(above)) : trans.__('Budget of today');
  const besides: [string, string, number | null, string?][] = [
    ['idle', trans.__('of it idle'), idle || null, trans.__('Start, pauses and end of machines, and the room beside runs')],
    ['budget_day', trans.__('budget of a day'), budget],
    ['warn_above', (today ?? 0) < above ? trans.__('warning at') : trans.__('above your warning at'), above || null]
  ];
  return (
    <>
      <div className="jc-Line">
        <span className="jc-Label">{trans.__('Today')}</span>
        {most > 0 && <Meter label={told} text={money(today)} value={today} most={most} />}
        <Value name="today">{money(today)}</Value>
      </div>
      {besides.map(
        ([name, label, usd, title]) =>
          usd !== null && (
            <div key={name} className="jc-Line jc-Muted" title={title}>
              <span>{label}</span>
              <Value name={name}>{money(usd)}</Value>
            </div>
          )
      )}
    </>
  );
}

const AMOUNT = /^(\d{1,6}([.,]\d{0,2})?)?$/;

/** Where the user sets from which cost of a day on to be warned. */
function WarnAbove({ trans, warning }: ISectionProps): JSX.Element | null {
  const [draft, setDraft] = React.useState<string | null>(null);
  const text = draft ?? (warning.above ? String(warning.above) : '');
  const wrong = !AMOUNT.test(text.trim());
  const keep = async (): Promise<void> => {
    if (draft !== null && !wrong) {
      await warning.keep?.(Number(text.trim().replace(',', '.')));
      setDraft(null);
    }
  };
  const keys: Record<string, () => void> = { Enter: () => void keep(), Escape: () => setDraft(null) };
  return warning.keep === null ? null : (
    <>
      <label className="jc-Line jc-Warn" title={trans.__('A notification, once a day. It stops nothing.')}>
        <span>{trans.__('Warn at, in $ a day')}</span>
        <input
          className="jp-mod-styled"
          data-command="warn"
          inputMode="decimal"
          placeholder={trans.__('never')}
          value={text}
          aria-invalid={wrong}
          aria-describedby={wrong ? 'jc-warn-rule' : undefined}
          onChange={event => setDraft(event.target.value)}
          onBlur={() => void keep()}
          onKeyDown={event => keys[event.key]?.()}
        />
      </label>
      {wrong && (
        <p id="jc-warn-rule" className="jc-Hint" role="alert">
          {trans.__('It must be an amount in dollars, e.g. 5 or 0.50; empty never warns.')}
        </p>
      )}
    </>
  );
}

interface IBarsProps {
  title: string;
  sums: (ISum & { name: string })[];
  trans: TranslationBundle;
}

function Bars({ title, sums, trans }: IBarsProps): JSX.Element | null {
  const most = Math.max(0, ...sums.map(({ usd }) => usd ?? 0));
  return sums.length === 0 ? null : (
    <>
      <h3 className="jc-Subtitle">{title}</h3>
      <ul className="jc-List">
        {sums.map(({ name, usd, runs, usd_unknown_runs: unknown }) => {
          const text = usd !== null && unknown > 0 ? trans.__('≥ %1', money(usd)) : money(usd);
          return (
            <li key={name} className="jc-Line jc-Bar" data-cost-of={name}>
              <span className="jc-Place" title={`${name}: ${trans._n('%1 run', '%1 runs', runs, runs)}`}>
                {name.split('/').pop()}
              </span>
              {most > 0 && <Meter label={name} text={text} value={usd} most={most} />}
              <Value name="usd">{text}</Value>
            </li>
          );
        })}
      </ul>
    </>
  );
}
