/** The form of *Run Cell Remotely…*: what to ask for, and the offer that it would get. */
import { Dialog, showDialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import React from 'react';
import { readLine, unquote, writeLine } from './cells';
import { memory, money, number } from './figures';
import { ILayer, IOffer } from './wire';

/** What the user wants done with the form. */
export interface IOrder {
  source: string;
  run: boolean;
}

interface IField {
  option: string;
  label: string;
  placeholder: string;
  /** What is valid; anything else is marked, and keeps the form open. */
  pattern: RegExp;
  rule: string;
}

const SIZE = String.raw`\d+(\.\d+)?\s*([kKmMgGtT]?i?[bB]|[kKmMgGtT])`;

function fieldsOf(trans: TranslationBundle): IField[] {
  return [
    {
      option: '--cpu',
      label: trans.__('CPUs'),
      placeholder: '1',
      pattern: /^\d+(\.\d+)?$/,
      rule: trans.__('a number of at least 0.1, e.g. 8')
    },
    {
      option: '--memory',
      label: trans.__('Memory'),
      placeholder: '4G',
      pattern: new RegExp(`^${SIZE}(\\.\\.${SIZE})?$`),
      rule: trans.__('a size with its unit, e.g. 32G or 8G..64G')
    },
    {
      option: '--gpu',
      label: trans.__('GPUs'),
      placeholder: '0',
      pattern: /^(\d+|[\w-]+(:\d+)?)$/,
      rule: trans.__('a number or a name, e.g. 1 or L4:2')
    },
    {
      option: '--retries',
      label: trans.__('Retries'),
      placeholder: '0',
      pattern: /^\d+$/,
      rule: trans.__('a whole number, e.g. 3')
    },
    {
      option: '--timeout',
      label: trans.__('Time limit'),
      placeholder: trans.__('none'),
      pattern: /^(\d+(\.\d+)?[smhd]?)+$/,
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

/** Ask for what a cell needs; null if the user cancels. */
export async function askForCell(
  source: string,
  layers: Promise<ILayer[]>,
  trans: TranslationBundle
): Promise<IOrder | null> {
  const form = new Form(source, layers, trans);
  const write = Dialog.createButton({
    label: trans.__('Write Line'),
    caption: trans.__('Write the %1 line, do not run yet', '%%remote'),
    actions: ['write']
  });
  const run = Dialog.okButton({ label: trans.__('Run'), actions: ['run'] });
  const dialog = new Dialog({
    title: trans.__('Run Cell Remotely'),
    body: form,
    buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), write, run],
    focusNodeSelector: 'input[name="--cpu"]'
  });
  dialog.addClass('jc-Dialog');
  for (;;) {
    const { button } = await dialog.launch();
    if (!button.accept) {
      return null;
    }
    const wrong = form.wrong;
    if (wrong === null) {
      return { source: form.result, run: button.actions.includes('run') };
    }
    await showDialog({
      title: trans.__('%1 is not right', wrong.label),
      body: trans.__('It must be %1.', wrong.rule),
      buttons: [Dialog.okButton()]
    });
    return askForCell(form.result, layers, trans);
  }
}

class Form extends ReactWidget {
  constructor(
    private _source: string,
    private _layers: Promise<ILayer[]>,
    private _trans: TranslationBundle
  ) {
    super();
  }

  /** The cell's source with its line as the form says. */
  get result(): string {
    return writeLine(this._source, this._changes);
  }

  /** The first field whose text is not valid. */
  get wrong(): IField | null {
    const wrong = (field: IField): boolean => isWrong(field, this._changes.get(field.option) ?? '');
    return fieldsOf(this._trans).find(wrong) ?? null;
  }

  protected render(): JSX.Element {
    return (
      <Fields
        source={this._source}
        layers={this._layers}
        trans={this._trans}
        onChange={changes => (this._changes = changes)}
      />
    );
  }

  private _changes: ReadonlyMap<string, string> = new Map();
}

interface IFieldsProps {
  source: string;
  layers: Promise<ILayer[]>;
  trans: TranslationBundle;
  onChange: (changes: ReadonlyMap<string, string>) => void;
}

function Fields({ source, layers, trans, onChange }: IFieldsProps): JSX.Element {
  const [changes, setChanges] = React.useState<ReadonlyMap<string, string>>(new Map());
  const [known, setKnown] = React.useState<ILayer[] | null>(null);
  React.useEffect(() => {
    layers.then(setKnown).catch(() => setKnown([]));
  }, [layers]);
  const set = (option: string, value: string): void => {
    const next = new Map(changes).set(option, value.trim());
    setChanges(next);
    onChange(next);
  };
  const written = readLine(source)?.options;
  const text = (option: string): string => changes.get(option) ?? unquote(written?.get(option) ?? '');
  const names = [...new Set([...(known ?? []).map(layer => layer.name), text('--on')])].filter(Boolean);
  return (
    <form className="jc-Form" onSubmit={event => event.preventDefault()}>
      {fieldsOf(trans).map(field => (
        <label key={field.option}>
          <span>{field.label}</span>
          <input
            name={field.option}
            className="jp-mod-styled"
            defaultValue={text(field.option)}
            placeholder={field.placeholder}
            title={field.rule}
            aria-invalid={isWrong(field, text(field.option))}
            onChange={event => set(field.option, event.target.value)}
          />
        </label>
      ))}
      <label>
        <span>{trans.__('Layer')}</span>
        <select
          name="--on"
          className="jp-mod-styled"
          value={text('--on')}
          onChange={event => set('--on', event.target.value)}
        >
          <option value="">{trans.__('as configured')}</option>
          {names.map(name => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <p className="jc-Offer" role="status" data-value="offer">
        {describeOffer(text, known, trans)}
      </p>
      <code className="jc-Preview" data-value="line">
        {writeLine(source, changes).split('\n', 1)[0]}
      </code>
    </form>
  );
}

function isWrong(field: IField, text: string): boolean {
  return text !== '' && !/[{$]/.test(text) && !field.pattern.test(text);
}

/** Say which machine the ask would get, and for how much. */
function describeOffer(
  text: (option: string) => string,
  layers: ILayer[] | null,
  trans: TranslationBundle
): string {
  if (layers === null) {
    return trans.__('Looking for offers…');
  }
  const on = text('--on') || 'local';
  const offers = layers.filter(layer => layer.name === on).flatMap(layer => layer.offers);
  if (offers.length === 0) {
    return trans.__('What it would get is known once a pool is running.');
  }
  const [cpu, size] = [Number(text('--cpu') || 1), bytesOf(text('--memory'))];
  const fits = (offer: IOffer): boolean => offer.cpu >= cpu && offer.memory >= size;
  const price = (offer: IOffer): number => offer.usd_per_hour ?? Infinity;
  const fitting = offers.filter(fits).sort((a, b) => price(a) - price(b));
  const offer = fitting[0] ?? [...offers].sort((a, b) => b.cpu - a.cpu)[0];
  const facts = [number(offer.cpu, 2), memory(offer.memory), money(offer.usd_per_hour)];
  return fitting.length
    ? trans.__('%1: %2 CPUs, %3, %4/h', offer.type, ...facts)
    : trans.__('No offer is large enough; the largest is %1: %2 CPUs, %3, %4/h', offer.type, ...facts);
}

function bytesOf(size: string): number {
  const found = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)/i.exec(size);
  const power = found ? ' kmgt'.indexOf(found[2].toLowerCase() || ' ') : 0;
  return found ? Number(found[1]) * (found[3] ? 1024 : 1000) ** power : 0;
}
