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
import { takeInsertions } from './cells';
import { addCommands, COMMANDS } from './commands';
import { CurrencyFormat, money, setCurrencyFormat } from './figures';
import { ComputeModel } from './model';
import { computeIcon, ComputePanel, PANEL_ID } from './panel';
import { Wire } from './wire';

const PLUGIN = 'jupyter-compute:plugin';

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
      Notification.error(error instanceof Error ? error.message : String(error));
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
    void followSettings(registry, app, panel, model, trans);
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
  model: ComputeModel,
  trans: TranslationBundle
): Promise<void> {
  let [side, warnAt, warned] = ['', 0, ''];
  const place = (wanted: string): void => {
    if (wanted !== side) {
      side = wanted;
      app.shell.add(panel, side, { rank: 900, type: 'Compute' });
    }
  };
  model.changed.connect(() => {
    const { today, budget_day: budget } = model.copy.cost;
    const day = new Date().toDateString();
    if (warnAt && budget && today !== null && today >= (warnAt / 100) * budget && warned !== day) {
      warned = day;
      Notification.warning(trans.__('%1 of the budget of %2 are spent today.', money(today), money(budget)));
    }
  });
  try {
    const settings = await registry.load(PLUGIN);
    const apply = (): void => {
      place(String(settings.get('side').composite));
      panel.interval = Number(settings.get('interval').composite);
      setCurrencyFormat(settings.get('currency').composite as CurrencyFormat);
      warnAt = Number(settings.get('budgetWarning').composite);
      panel.update();
    };
    settings.changed.connect(apply);
    apply();
  } catch (error) {
    place('right');
    Notification.warning(trans.__('The settings of Compute cannot be read: %1', String(error)));
  }
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
    });
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
    const { state, activeRuns } = model;
    const paid = model.copy.cost.usd_per_hour ?? 0;
    if (state === 'stale' || state === 'stopping') {
      return state === 'stale' ? trans.__('Compute: not up to date') : trans.__('Compute: stopping');
    }
    if (state !== 'live' && state !== 'empty') {
      return '';
    }
    const runs = trans._n('%1 run', '%1 runs', activeRuns.length, activeRuns.length);
    const told = [activeRuns.length ? runs : trans.__('idle'), paid > 0 && trans.__('%1/h', money(paid))];
    return trans.__('Compute: %1', told.filter(Boolean).join(' · '));
  }

  private _text = '';
  private _activeChanged = new Signal<this, void>(this);
}
