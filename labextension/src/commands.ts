/** The commands: of the palette and menus, of the panel's buttons, and for other extensions. */
import { JupyterFrontEnd } from '@jupyterlab/application';
import { Clipboard, Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import { Cell, isCodeCellModel } from '@jupyterlab/cells';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { TranslationBundle } from '@jupyterlab/translation';
import { LabIcon, refreshIcon } from '@jupyterlab/ui-components';
import { findCell, lineOf, runBelow, runCell, runOfCell, showCell } from './cells';
import { askForCell } from './dialog';
import { ComputeModel } from './model';
import { computeIcon, PANEL_ID } from './panel';
import { IAsk, IRun } from './wire';

/** The command behind each button of the panel, by the button's `data-command`. */
export const COMMANDS: Record<string, string> = {
  open: 'jupyter-compute:open-panel',
  ask: 'jupyter-compute:run-cell-remotely',
  cancel: 'jupyter-compute:cancel-run',
  goto: 'jupyter-compute:go-to-run',
  copy: 'jupyter-compute:copy-run',
  attach: 'jupyter-compute:attach-run',
  stop: 'jupyter-compute:stop-machine',
  'stop-pool': 'jupyter-compute:stop-pool',
  refresh: 'jupyter-compute:refresh',
  settings: 'jupyter-compute:settings'
};

export interface IContext {
  app: JupyterFrontEnd;
  model: ComputeModel;
  trans: TranslationBundle;
  tracker: INotebookTracker | null;
}

interface ICommand {
  label: string;
  caption?: string;
  icon?: LabIcon;
  isEnabled?: () => boolean;
  isVisible?: () => boolean;
  execute: (id: string) => unknown;
}

export function addCommands(context: IContext): void {
  const { app, model, trans, tracker } = context;
  const hasPool = (): boolean =>
    ['live', 'empty', 'stale'].includes(model.state) || (model.state === 'connecting' && model.age !== null);
  const commands: Record<string, ICommand> = {
    open: {
      label: trans.__('Show Compute'),
      caption: trans.__('Show machines, runs and cost'),
      icon: computeIcon,
      execute: () => app.shell.activateById(PANEL_ID)
    },
    ask: {
      label: trans.__('Run Cell Remotely…'),
      caption: trans.__('Choose what this cell needs, and run it remotely'),
      icon: computeIcon,
      isEnabled: () => isCode(tracker?.activeCell),
      isVisible: () => tracker !== null && (tracker.activeCell === null || isCode(tracker.activeCell)),
      execute: () => runCellRemotely(context)
    },
    cancel: {
      label: trans.__('Cancel Remote Run'),
      caption: trans.__('Cancel the run of this cell, or the only one'),
      isEnabled: () => model.activeRuns.length > 0,
      execute: id => cancelRun(context, id)
    },
    goto: { label: trans.__('Go to Cell of Run'), execute: id => goTo(context, id) },
    copy: {
      label: trans.__('Copy as %1 Line', '%%remote'),
      execute: id => {
        const line = lineOf(runOf(context, id));
        Clipboard.copyToSystem(line);
        Notification.success(trans.__('Copied: %1', line), { autoClose: 3000 });
      }
    },
    attach: { label: trans.__('Attach to Run'), execute: id => attach(context, id) },
    stop: { label: trans.__('Stop Machine…'), execute: id => stopMachine(context, id) },
    'stop-pool': {
      label: trans.__('Stop Pool…'),
      caption: trans.__('End all runs and machines'),
      isEnabled: hasPool,
      execute: () => stopPool(context)
    },
    refresh: {
      label: trans.__('Refresh Compute'),
      icon: refreshIcon,
      execute: () => model.resume()
    },
    settings: {
      label: trans.__('Compute Settings'),
      execute: () => app.commands.execute('settingeditor:open', { query: 'Compute' })
    }
  };
  for (const [name, { execute, ...options }] of Object.entries(commands)) {
    app.commands.addCommand(COMMANDS[name], {
      ...options,
      execute: args => execute(typeof args.id === 'string' ? args.id : '')
    });
  }
  let known = '';
  model.changed.connect(() => {
    const now = `${model.activeRuns.length} ${hasPool()}`;
    if (now !== known) {
      known = now;
      app.commands.notifyCommandChanged(COMMANDS.cancel);
      app.commands.notifyCommandChanged(COMMANDS['stop-pool']);
    }
  });
}

function isCode(cell: Cell | null | undefined): boolean {
  return !!cell && isCodeCellModel(cell.model);
}

function runOf({ model, trans }: IContext, id: string): IRun {
  const run = model.copy.runs.get(id);
  if (!run) {
    throw new Error(trans.__('There is no run %1.', id));
  }
  return run;
}

async function runCellRemotely({ app, model, trans, tracker }: IContext): Promise<void> {
  const [panel, cell] = [tracker?.currentWidget, tracker?.activeCell];
  if (!panel || !cell || !isCode(cell)) {
    throw new Error(trans.__('Choose a code cell first.'));
  }
  const last = isCodeCellModel(cell.model) ? runOfCell(cell.model) : '';
  const advised = (): Partial<IAsk> | null => model.copy.runs.get(last)?.receipt?.advised ?? null;
  const news = last ? model.news() : Promise.resolve();
  const facts = { layers: model.wire.layers(), advised: news.then(advised) };
  const order = await askForCell(cell.model.sharedModel.getSource(), facts, trans);
  if (order) {
    cell.model.sharedModel.setSource(order.source);
    if (order.run) {
      app.shell.activateById(panel.id);
      await runCell(panel, cell);
    }
  }
}

async function cancelRun(context: IContext, given: string): Promise<void> {
  const { model, trans, tracker } = context;
  const cell = tracker?.activeCell?.model;
  const active = model.activeRuns;
  const ofCell = cell && isCodeCellModel(cell) ? runOfCell(cell) : '';
  const only = active.length === 1 ? active[0].id : '';
  const id = given || (active.some(run => run.id === ofCell) ? ofCell : only);
  if (!id) {
    throw new Error(trans.__('Choose the run to cancel in the panel.'));
  }
  await model.cancel(id);
}

/** Show a run's cell, in a notebook that is opened for it if a kernel has it open. */
async function goTo({ app, model, trans, tracker }: IContext, id: string): Promise<void> {
  const run = runOf({ app, model, trans, tracker }, id);
  const found = tracker && findCell(tracker, run);
  if (found) {
    app.shell.activateById(found[0].id);
    await showCell(...found);
    return;
  }
  const sessions = [...app.serviceManager.sessions.running()];
  const session = sessions.find(({ path }) => run.notebook && path.split('/').pop() === run.notebook);
  if (session) {
    await app.commands.execute('docmanager:open', { path: session.path });
    await tracker?.currentWidget?.revealed;
  }
  const now = tracker && session && findCell(tracker, run);
  if (!now) {
    const place = [run.notebook, run.cell && `[${run.cell}]`].filter(Boolean).join(' ');
    throw new Error(trans.__('The cell of %1 is in no open notebook: %2', id, place || '?'));
  }
  await showCell(...now);
}

async function attach(context: IContext, id: string): Promise<void> {
  const { app, trans, tracker } = context;
  const panel = tracker?.currentWidget;
  if (!panel) {
    throw new Error(trans.__('Open a notebook first: attaching puts a cell into it.'));
  }
  app.shell.activateById(panel.id);
  await runBelow(panel, `%compute attach ${runOf(context, id).id}`);
}

async function stopMachine({ model, trans }: IContext, id: string): Promise<void> {
  const machine = model.copy.machines.get(id);
  const text =
    machine && machine.runs > 0
      ? trans._n('%1 run is on it, and ends first.', '%1 runs are on it, and end first.', machine.runs, machine.runs)
      : trans.__('Nothing runs on it.');
  if (await confirmed(trans, trans.__('Stop %1?', machine?.type ?? id), text, trans.__('Stop'))) {
    await model.stopMachine(id);
  }
}

async function stopPool({ model, trans }: IContext): Promise<void> {
  const count = model.activeRuns.length;
  const text = count
    ? trans._n('%1 run is cancelled.', '%1 runs are cancelled.', count, count)
    : trans.__('Nothing runs. The next remote cell starts a new pool.');
  if (await confirmed(trans, trans.__('Stop the pool and all its machines?'), text, trans.__('Stop'))) {
    await model.stopPool();
  }
}

async function confirmed(trans: TranslationBundle, title: string, body: string, label: string): Promise<boolean> {
  const buttons = [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.warnButton({ label })];
  const { button } = await showDialog({ title, body, buttons });
  return button.accept;
}

/** Put a new code cell below the one with the id, below the active one if there is none. */
function insertBelow(panel: NotebookPanel, id: string, code: string): boolean {
  const { content } = panel;
  const found = content.widgets.findIndex(cell => cell.model.id === id);
  if (id && found < 0) {
    return false; // it is in another notebook of this kernel
  }
  const index = (found < 0 ? content.activeCellIndex : found) + 1;
  content.model?.sharedModel.insertCell(index, { cell_type: 'code', source: code });
  content.activeCellIndex = index;
  content.mode = 'edit';
  const cell = content.activeCell;
  void cell?.ready.then(() => cell.editor?.setCursorPosition({ line: code.split('\n').length - 1, column: 0 }));
  return true;
}

/** Let kernels do so: that is how *Insert* of `%compute ask` works. */
export function takeInsertions(tracker: INotebookTracker): void {
  const listen = (panel: NotebookPanel): void => {
    const { sessionContext } = panel;
    const register = (): void =>
      sessionContext.session?.kernel?.registerCommTarget('jupyter-compute:insert', (comm, opened) => {
        const { cell, text } = opened.content.data;
        // Of several pages on one kernel, the one where the button was pressed.
        if (document.hasFocus() && insertBelow(panel, String(cell), String(text))) {
          comm.send({ inserted: true });
        }
      });
    sessionContext.kernelChanged.connect(register);
    register();
  };
  tracker.forEach(panel => listen(panel));
  tracker.widgetAdded.connect((_, panel) => listen(panel));
}
