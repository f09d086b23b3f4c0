/** The panel: how the pool is, and four sections that remember whether they are open. */
import { IStateDB } from '@jupyterlab/statedb';
import { TranslationBundle } from '@jupyterlab/translation';
import {
  caretDownIcon,
  caretRightIcon,
  LabIcon,
  ReactWidget,
  refreshIcon,
  settingsIcon,
  stopIcon
} from '@jupyterlab/ui-components';
import { Message } from '@lumino/messaging';
import React from 'react';
import { duration } from './figures';
import { ComputeModel } from './model';
import { CostSection, MachinesSection, NowSection } from './pool';
import { Act, ISectionProps, IWarning, RunsSection } from './runs';

const SVG = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
<g class="jp-icon3 jp-icon-selectable" fill="#616161"><path d="M3 4h18v6H3zm2 2v2h2V6zM3 14h18v6H3zm2 2v2h2v-2z" fill-rule="evenodd"/></g></svg>`;

export const computeIcon = new LabIcon({ name: 'jupyter-compute:icon', svgstr: SVG });

export const PANEL_ID = 'jupyter-compute-panel';
const COLLAPSED = 'jupyter-compute:collapsed';

export interface IPanelOptions {
  model: ComputeModel;
  trans: TranslationBundle;
  act: Act;
  /** Where the panel remembers which sections are collapsed; null forgets it. */
  memory: IStateDB | null;
}

export class ComputePanel extends ReactWidget {
  constructor(private _options: IPanelOptions) {
    super();
    const { model, trans } = _options;
    this.id = PANEL_ID;
    this.title.icon = computeIcon;
    this.title.caption = trans.__('Compute');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', trans.__('Compute'));
    this.addClass('jc-Panel');
    this._show();
    model.changed.connect(this._show, this);
    void this._recall();
  }

  /** Seconds between two looks while the panel can be seen. */
  set interval(seconds: number) {
    this._interval = seconds;
    this._watch();
  }

  set warning(warning: IWarning) {
    this._warning = warning;
    this.update();
  }

  protected render(): JSX.Element {
    const { _collapsed: collapsed, _warning: warning } = this;
    return <Body {...this._options} {...{ collapsed, warning }} onToggle={this._toggle} />;
  }

  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._watch();
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._watch();
  }

  protected onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this._watch();
  }

  protected onBeforeDetach(message: Message): void {
    super.onBeforeDetach(message);
    this._options.model.watch(false, this._interval);
  }

  private _watch(): void {
    this._options.model.watch(this.isVisible, this._interval);
    this._show();
  }

  private _show(): void {
    this.node.dataset.state = this._options.model.state;
    if (this.isVisible) {
      this.update();
    }
  }

  private _toggle = (section: string): void => {
    const collapsed = new Set(this._collapsed);
    if (!collapsed.delete(section)) {
      collapsed.add(section);
    }
    this._collapsed = collapsed;
    this.update();
    void this._options.memory?.save(COLLAPSED, [...collapsed]);
  };

  private async _recall(): Promise<void> {
    const found = await this._options.memory?.fetch(COLLAPSED);
    if (Array.isArray(found)) {
      this._collapsed = new Set(found.map(String));
      this.update();
    }
  }

  private _collapsed: ReadonlySet<string> = new Set();
  private _interval = 1;
  private _warning: IWarning = { above: 0, keep: null };
}

interface IBodyProps extends IPanelOptions {
  warning: IWarning;
  collapsed: ReadonlySet<string>;
  onToggle: (section: string) => void;
}

function Body({ collapsed, onToggle, memory, ...props }: IBodyProps): JSX.Element {
  const { model, trans, act } = props;
  const { state } = model;
  const known = state === 'connecting' && model.age !== null;
  const shown = known || ['live', 'stale', 'empty', 'stopping'].includes(state);
  const sections: [string, string, (props: ISectionProps) => JSX.Element][] = [
    ['now', trans.__('Now'), NowSection],
    ['runs', trans.__('Runs'), RunsSection],
    ['machines', trans.__('Machines'), MachinesSection],
    ['cost', trans.__('Cost'), CostSection]
  ];
  return (
    <>
      <div className="jc-Toolbar" role="toolbar" aria-label={trans.__('Compute')}>
        <Banner model={model} trans={trans} />
        <Tool command="refresh" icon={refreshIcon} label={trans.__('Refresh')} act={act} />
        {shown && <Tool command="stop-pool" icon={stopIcon} label={trans.__('Stop the pool')} act={act} />}
        <Tool command="settings" icon={settingsIcon} label={trans.__('Settings')} act={act} />
      </div>
      <Notice model={model} trans={trans} />
      <div className="jc-Sections" aria-busy={state === 'connecting'}>
        {sections.map(([name, title, Content]) => {
          const open = !collapsed.has(name);
          const Caret = open ? caretDownIcon : caretRightIcon;
          return (
            <section key={name} data-section={name} aria-labelledby={`jc-title-${name}`}>
              <h2 className="jc-Title" id={`jc-title-${name}`}>
                <button
                  aria-expanded={open}
                  aria-controls={`jc-section-${name}`}
                  onClick={() => onToggle(name)}
                >
                  <Caret.react tag="span" width="14px" />
                  {title}
                </button>
              </h2>
              <div className="jc-Content" id={`jc-section-${name}`} hidden={!open}>
                {open && shown && <Content {...props} />}
              </div>
            </section>
          );
        })}
      </div>
    </>
  );
}

function Tool(props: { command: string; icon: LabIcon; label: string; act: Act }): JSX.Element {
  return (
    <button
      className="jc-Action"
      data-command={props.command}
      title={props.label}
      aria-label={props.label}
      onClick={() => props.act(props.command, '')}
    >
      <props.icon.react tag="span" width="14px" />
    </button>
  );
}

/** How the pool is, in a word; screen readers hear it when it changes. */
function Banner({ model, trans }: { model: ComputeModel; trans: TranslationBundle }): JSX.Element {
  const names: Record<string, string> = {
    'no-server': trans.__('no server extension'),
    'no-pool': trans.__('no pool'),
    connecting: trans.__('connecting…'),
    live: trans.__('live'),
    stale: trans.__('not up to date'),
    error: trans.__('error'),
    stopping: trans.__('stopping…'),
    empty: trans.__('ready')
  };
  return (
    <span className="jc-Banner" role="status" data-value="state">
      {names[model.state]}
    </span>
  );
}

/** What to do when there is nothing to show, or nothing new. */
function Notice({ model, trans }: { model: ComputeModel; trans: TranslationBundle }): JSX.Element | null {
  const { message, hint } = model.problem;
  const told = [message, hint].filter(Boolean).join(' – ');
  const since = duration(Math.floor(model.age ?? 0));
  const texts: Record<string, string> = {
    'no-server': trans.__(
      'The Jupyter server does not have the extension jupyter_compute. Check it with `jupyter server extension list`, then restart the server.'
    ),
    'no-pool': trans.__('No pool is running. The first %1 cell starts one.', '%%remote'),
    connecting: told,
    stale: [trans.__('Last heard %1 ago; the numbers below are old.', since), told].filter(Boolean).join(' '),
    error: told,
    stopping: trans.__('The pool is ending its runs and machines.')
  };
  const text = texts[model.state];
  return text ? (
    <p className="jc-Notice" data-value="notice">
      {text}
    </p>
  ) : null;
}
