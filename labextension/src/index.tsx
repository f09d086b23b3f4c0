/** The plugin: puts the panel, its status bar item and its commands into JupyterLab. */
import {
  ILabShell,
  ILayoutRestorer,
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette, Notification } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookActions } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator, TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import { ISignal, Signal } from '@lumino/signaling';
import React from 'react';
import { addCommands, COMMANDS, takeInsertions } from './commands';
import { CurrencyFormat, money, setCurrencyFormat } from './figures';
import { ComputeModel } from './model';
import { computeIcon, ComputePanel, PANEL_ID } from './panel';
import { Wire } from './wire';

const PLUGIN = 'jupyter-compute:plugin';
const WARNED = 'jupyter-compute:warned';
/** Without it a notification is only counted. */
const TOAST = { autoClose: 10_000 } as const;

const plugin: JupyterFrontEndPlugin<void> = {
  id: PLUGIN,
  description: 'Machines, runs and cost of jupyter-compute',
  autoStart: true,
  optional: [
    ILabShell,
    ILayoutRestorer,
    ICommandPalette,
    INotebookTracker,
    ISettingRegistry,
    IStateDB,
    IStatusBar,
    ITranslator
  ],
  activate
};

export default plugin;

function activate(
  app: JupyterFrontEnd,
  labShell: ILabShell | null,
  restorer: ILayoutRestorer | null,
  palette: ICommandPalette | null,
  tracker: INotebookTracker | null,
  registry: ISettingRegistry | null,
  memory: IStateDB | null,
  statusBar: IStatusBar | null,
  translator: ITranslator | null
): void {
  const trans = (translator ?? nullTranslator).load('jupyter_compute');
  const model = new ComputeModel(new Wire(app.serviceManager.serverSettings));
  const act = (command: string, id: string): void => {
    app.commands.execute(COMMANDS[command], { id }).catch((error: unknown) => {
      Notification.error(error instanceof Error ? error.message : String(error), TOAST);
    });
  };
  const panel = new ComputePanel({ model, trans, act, memory });
  addCommands({ app, model, trans, tracker });
  if (tracker) {
    takeInsertions(tracker);
  }
  for (const command of ['open', 'ask', 'cancel', 'stop-pool', 'refresh']) {
    palette?.addItem({ command: COMMANDS[command], category: trans.__('Compute') });
  }
  restorer?.add(panel, PANEL_ID);
  if (registry === null) {
    app.shell.add(panel, 'right', { rank: 900, type: 'Compute' });
  } else {
    void followSettings(registry, app, panel, warnOfCost(model, memory, trans), trans);
  }
  const item = new StatusItem(model, trans, () => act('open', ''));
  statusBar?.registerStatusItem('jupyter-compute:status', {
    item,
    align: 'left',
    rank: 100,
    isActive: () => item.isActive,
    activeStateChanged: item.activeChanged
  });
  NotebookActions.executionScheduled.connect(() => model.glance());
}

/** Place the panel and set it up as the settings say, now and whenever they change. */
async function followSettings(
  registry: ISettingRegistry,
  app: JupyterFrontEnd,
  panel: ComputePanel,
  warn: (above: number) => void,
  trans: TranslationBundle
): Promise<void> {
  let side = '';
  const place = (wanted: string): void => {
    if (wanted !== side) {
      side = wanted;
      app.shell.add(panel, side, { rank: 900, type: 'Compute' });
    }
  };
  try {
    const settings = await registry.load(PLUGIN);
    const apply = (): void => {
      place(String(settings.get('side').composite));
      panel.interval = Number(settings.get('interval').composite);
      setCurrencyFormat(settings.get('currency').composite as CurrencyFormat);
      const above = Number(settings.get('warnAbove').composite);
      panel.warning = { above, keep: usd => settings.set('warnAbove', usd) };
      warn(above);
    };
    settings.changed.connect(apply);
    apply();
  } catch (error) {
    place('right');
    Notification.warning(trans.__('The settings of Compute cannot be read: %1', String(error)), TOAST);
  }
}

/** Return what sets from which cost of a day on to warn; it is said once a day and amount. */
function warnOfCost(
  model: ComputeModel,
  memory: IStateDB | null,
  trans: TranslationBundle
): (above: number) => void {
  let [least, said] = [0, ''];
  const look = async (): Promise<void> => {
    const { cost, spending } = model.copy;
    const mark = `${spending?.day} ${least}`;
    if (least === 0 || cost.today === null || cost.today < least || mark === said) {
      return;
    }
    said = mark;
    const amounts = [money(cost.today), money(least)];
    if ((await memory?.fetch(WARNED)) !== mark) {
      await memory?.save(WARNED, mark);
      const text = trans.__('Today has cost %1; your warning is at %2. Nothing is stopped.', ...amounts);
      Notification.warning(text, { autoClose: false });
    }
  };
  model.changed.connect(() => void look());
  return above => {
    least = above;
    void look();
  };
}

/** One short item that opens the panel; it is there while there is a pool. */
class StatusItem extends ReactWidget {
  constructor(
    private _model: ComputeModel,
    private _trans: TranslationBundle,
    private _open: () => void
  ) {
    super();
    _model.changed.connect(() => {
      const text = this._describe();
      if (text !== this._text) {
        const toggled = !text !== !this._text;
        this._text = text;
        this.update();
        if (toggled) {
          this._activeChanged.emit();
        }
      }
    }, this);
  }

  get isActive(): boolean {
    return this._text !== '';
  }

  get activeChanged(): ISignal<this, void> {
    return this._activeChanged;
  }

  protected render(): JSX.Element {
    return (
      <button
        className="jc-Status"
        data-jupyter-compute="status"
        data-state={this._model.state}
        title={this._trans.__('Show Compute')}
        onClick={this._open}
      >
        <computeIcon.react tag="span" width="14px" />
        {this._text}
      </button>
    );
  }

  private _describe(): string {
    const { _model: model, _trans: trans } = this;
    const { state, activeRuns, age } = model;
    const paid = model.copy.cost.usd_per_hour ?? 0;
    if (state === 'stale' || state === 'stopping') {
      return state === 'stale' ? trans.__('Compute: not up to date') : trans.__('Compute: stopping');
    }
    if (state !== 'live' && state !== 'empty') {
      return state === 'connecting' && age !== null ? trans.__('Compute') : ''; // nobody has asked lately
    }
    const runs = trans._n('%1 run', '%1 runs', activeRuns.length, activeRuns.length);
    const told = [activeRuns.length ? runs : trans.__('idle'), paid > 0 && trans.__('%1/h', money(paid))];
    return trans.__('Compute: %1', told.filter(Boolean).join(' · '));
  }

  private _text = '';
  private _activeChanged = new Signal<this, void>(this);
}
