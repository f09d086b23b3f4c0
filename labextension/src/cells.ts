/** Cells of notebooks: which one a run came from, and the `%%remote` line at its top. */
import { Cell, ICodeCellModel, isCodeCellModel } from '@jupyterlab/cells';
import { INotebookTracker, NotebookActions, NotebookPanel } from '@jupyterlab/notebook';
import { TranslationBundle } from '@jupyterlab/translation';
import { IAsk, IRun } from './wire';

const MAGIC = '%%remote';
/** Options of the magic that stand alone; all others are followed by a value. */
const FLAGS = new Set(['--keep-partial', '--cache', '--plan', '--quiet', '--help']);
const WORD = /^\s*((?:"[^"]*"|'[^']*'|[^\s"'])+)/;

/** A `%%remote` line in parts: each option with its value as written, and the comment. */
export interface ILine {
  options: Map<string, string>;
  comment: string;
}

/** Read the first line of a cell; null if the cell is not a `%%remote` one. */
export function readLine(source: string): ILine | null {
  const first = source.split('\n', 1)[0].trimEnd();
  if (first !== MAGIC && !/^%%remote\s/.test(first)) {
    return null;
  }
  let rest = first.slice(MAGIC.length);
  const options = new Map<string, string>();
  let open = '';
  while (rest.trim()) {
    const found = /^\s*#/.test(rest) ? null : WORD.exec(rest);
    if (!found) {
      return { options, comment: rest.trim() };
    }
    rest = rest.slice(found[0].length);
    const word = found[1];
    if (open) {
      options.set(open, word);
      open = '';
    } else {
      options.set(word, '');
      open = word.startsWith('--') && !FLAGS.has(word) ? word : '';
    }
  }
  return { options, comment: '' };
}

/** Return the source with these options on its `%%remote` line; an empty text removes one. */
export function writeLine(source: string, changes: ReadonlyMap<string, string>): string {
  const line = readLine(source);
  const options = new Map(line?.options);
  for (const [name, text] of changes) {
    const value = text.trim();
    if (value) {
      options.set(name, quote(value));
    } else {
      options.delete(name);
    }
  }
  const written = [...options].map(([name, value]) => (value ? `${name} ${value}` : name));
  const first = [MAGIC, ...written, line?.comment ?? ''].filter(Boolean).join(' ');
  const body = line ? source.split('\n').slice(1).join('\n') : source;
  return `${first}\n${body}`;
}

/** Return a value of the line without its quotes. */
export function unquote(value: string): string {
  return value.replace(/"([^"]*)"|'([^']*)'/g, '$1$2');
}

function quote(value: string): string {
  return /[\s#"']/.test(value) ? (value.includes('"') ? `'${value}'` : `"${value}"`) : value;
}

/** Return the options that ask for this. */
export function optionsOf(ask: Partial<IAsk>): Map<string, string> {
  const options = new Map<string, string>();
  if (ask.cpu) {
    options.set('--cpu', String(ask.cpu));
  }
  if (ask.memory) {
    const high = ask.memory_high ? `..${exactMemory(ask.memory_high)}` : '';
    options.set('--memory', exactMemory(ask.memory) + high);
  }
  if (ask.gpu) {
    options.set('--gpu', String(ask.gpu));
  }
  return options;
}

/** Return the line that asks for what a run asked for, or for what it was advised to. */
export function lineOf(run: IRun): string {
  const changes = new Map([...optionsOf(run.ask), ...optionsOf(run.receipt?.advised ?? {})]);
  if (run.layer && run.layer !== 'local') {
    changes.set('--on', run.layer);
  }
  return writeLine('', changes).trimEnd();
}

/** Return bytes as the magic reads them back, exactly. */
function exactMemory(bytes: number): string {
  for (const [power, letter] of [...'KMGT'].entries()) {
    if (bytes < 1000 ** (power + 2) || letter === 'T') {
      const decimal = bytes / 1000 ** (power + 1);
      const binary = bytes / 1024 ** (power + 1);
      if (Number.isInteger(Math.round(binary * 1e6) / 1e6) && !Number.isInteger(decimal)) {
        return `${Math.round(binary)}${letter}iB`;
      }
      const short = String(Math.round(decimal * 1000) / 1000);
      return Number(short) === decimal ? `${short}${letter}` : `${bytes}B`;
    }
  }
  return `${bytes}B`;
}

/** A field of the form that writes such a line. */
export interface IField {
  option: string;
  label: string;
  placeholder: string;
  /** All that the magic takes; anything else is marked, and keeps the form open. */
  pattern: RegExp;
  rule: string;
}

const SIZE = String.raw`(\d+\.?\d*|\.\d+)\s*([kmgt]i?b?|b)`;

export function fieldsOf(trans: TranslationBundle): IField[] {
  return [
    {
      option: '--cpu',
      label: trans.__('CPUs'),
      placeholder: '1',
      pattern: /^(\d*[1-9]\d*\.?\d*|0?\.[1-9]\d*)$/,
      rule: trans.__('a number of at least 0.1, e.g. 8')
    },
    {
      option: '--memory',
      label: trans.__('Memory'),
      placeholder: '4G',
      pattern: new RegExp(`^${SIZE}(\\s*\\.\\.\\s*${SIZE})?$`, 'i'),
      rule: trans.__('a size with its unit, e.g. 32G or 8G..64G')
    },
    {
      option: '--gpu',
      label: trans.__('GPUs'),
      placeholder: '0',
      pattern: /^(\d+(\.0*)?|[a-z][\w .-]*(:\d+)?)$/i,
      rule: trans.__('a number or a name, e.g. 1 or L4:2')
    },
    {
      option: '--retries',
      label: trans.__('Retries'),
      placeholder: '0',
      pattern: /^\d+(\.0*)?$/,
      rule: trans.__('a whole number, e.g. 3')
    },
    {
      option: '--timeout',
      label: trans.__('Time limit'),
      placeholder: trans.__('none'),
      pattern: /^(\d[\d.]*\s*(d|h|m(in)?|s)\s*)*(\d[\d.]*\s*)?$/,
      rule: trans.__('a time, e.g. 90s, 10m or 1h30m')
    },
    {
      option: '--name',
      label: trans.__('Name'),
      placeholder: trans.__('first line of the code'),
      pattern: /^.{1,200}$/,
      rule: trans.__('a line of at most 200 characters')
    }
  ];
}

/** Return the id of the run whose status a cell shows last; empty if it shows none. */
export function runOfCell(model: ICodeCellModel): string {
  for (let i = model.outputs.length - 1; i >= 0; i--) {
    const html = String(model.outputs.get(i).data['text/html'] ?? '');
    const found = /data-jc-run="([^"]+)"/.exec(html);
    if (found) {
      return found[1];
    }
  }
  return '';
}

/** Find the cell that shows a run's status among the open notebooks. */
export function findCell(tracker: INotebookTracker, run: IRun): [NotebookPanel, number] | null {
  let found: [NotebookPanel, number] | null = null;
  const search = (match: (model: ICodeCellModel) => boolean, named: boolean): void => {
    tracker.forEach(panel => {
      const cells = panel.content.model?.cells;
      if (found || !cells || (named && panel.context.path.split('/').pop() !== run.notebook)) {
        return;
      }
      for (let i = 0; i < cells.length; i++) {
        const model = cells.get(i);
        if (isCodeCellModel(model) && match(model)) {
          found = [panel, i];
          return;
        }
      }
    });
  };
  search(model => runOfCell(model) === run.id, false);
  if (!found && run.notebook && run.cell) {
    search(model => String(model.executionCount) === run.cell && readLine(source(model)) !== null, true);
  }
  return found;
}

/** Bring a cell into view, and make it the active one. */
export async function showCell(panel: NotebookPanel, index: number): Promise<void> {
  panel.content.activeCellIndex = index;
  panel.content.deselectAll();
  await panel.content.scrollToItem(index, 'smart');
  // A notebook that has just been opened goes on growing above the cell for a moment.
  await panel.content.activeCell?.ready;
  await new Promise(resolve => window.setTimeout(resolve, 200));
  await panel.content.scrollToItem(index, 'smart');
  panel.content.activeCell?.node.focus();
}

/** Put a new code cell below the active one, and run it. */
export async function runBelow(panel: NotebookPanel, code: string): Promise<void> {
  await loadMagics(panel);
  NotebookActions.insertBelow(panel.content);
  panel.content.activeCell?.model.sharedModel.setSource(code);
  await NotebookActions.run(panel.content, panel.sessionContext);
}

/** Run one cell, in a kernel that has the magics. */
export async function runCell(panel: NotebookPanel, cell: Cell): Promise<void> {
  const { content, sessionContext } = panel;
  await loadMagics(panel);
  content.activeCellIndex = content.widgets.indexOf(cell);
  content.deselectAll(); // or all that is selected would run
  await NotebookActions.run(content, sessionContext);
}

/** Have the kernel load the magics; it may have been restarted since the notebook's own cell did. */
async function loadMagics({ sessionContext }: NotebookPanel): Promise<void> {
  await sessionContext.ready;
  const code = 'get_ipython().extension_manager.load_extension("jupyter_compute")';
  await sessionContext.session?.kernel?.requestExecute({ code, silent: true, store_history: false }).done;
}

function source(model: ICodeCellModel): string {
  return model.sharedModel.getSource();
}
