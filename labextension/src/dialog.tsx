/** The form of *Run Cell Remotely…*: what to ask for, and the offer that it would get. */
import { Dialog, showDialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import React from 'react';
import { fieldsOf, IField, optionsOf, readLine, unquote, writeLine } from './cells';
import { memory, money, number } from './figures';
import { IAsk, ILayer, IOffer } from './wire';

/** What the user wants done with the form. */
export interface IOrder {
  source: string;
  run: boolean;
}

/** What is found out while the form is open. */
export interface IFacts {
  layers: Promise<ILayer[]>;
  /** What the last run of the cell was advised to ask for. */
  advised: Promise<Partial<IAsk> | null>;
}

/** Ask for what a cell needs; null if the user cancels. */
export async function askForCell(
  source: string,
  facts: IFacts,
  trans: TranslationBundle
): Promise<IOrder | null> {
  const form = new Form(source, facts, trans);
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
  const { button } = await dialog.launch();
  const { wrong, result } = form;
  if (!button.accept || wrong === null) {
    return button.accept ? { source: result, run: button.actions.includes('run') } : null;
  }
  await showDialog({
    title: trans.__('%1 is not right', wrong.label),
    body: trans.__('It must be %1.', wrong.rule),
    buttons: [Dialog.okButton()]
  });
  return askForCell(result, facts, trans);
}

class Form extends ReactWidget {
  constructor(
    private _source: string,
    private _facts: IFacts,
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
    const options = readLine(this.result)?.options;
    const text = (field: IField): string => unquote(options?.get(field.option) ?? '');
    return fieldsOf(this._trans).find(field => isWrong(field, text(field))) ?? null;
  }

  protected render(): JSX.Element {
    return (
      <Fields
        source={this._source}
        {...this._facts}
        trans={this._trans}
        onChange={changes => (this._changes = changes)}
      />
    );
  }

  private _changes: ReadonlyMap<string, string> = new Map();
}

interface IFieldsProps extends IFacts {
  source: string;
  trans: TranslationBundle;
  onChange: (changes: ReadonlyMap<string, string>) => void;
}

function Fields({ source, layers, advised, trans, onChange }: IFieldsProps): JSX.Element {
  const [changes, setChanges] = React.useState<ReadonlyMap<string, string>>(new Map());
  const [known, setKnown] = React.useState<ILayer[] | null>(null);
  const [advice, setAdvice] = React.useState<ReadonlyMap<string, string>>(new Map());
  React.useEffect(() => {
    layers.then(setKnown).catch(() => setKnown([]));
    advised.then(ask => setAdvice(optionsOf(ask ?? {}))).catch(() => undefined);
  }, [layers, advised]);
  const change = (next: ReadonlyMap<string, string>): void => {
    setChanges(next);
    onChange(next);
  };
  const set = (option: string, value: string): void => change(new Map(changes).set(option, value));
  const line = readLine(source)?.options;
  const written = (option: string): string => unquote(line?.get(option) ?? '');
  const text = (option: string): string => changes.get(option) ?? written(option);
  const advises = [...advice];
  const follow = (all: boolean): void => {
    const next = new Map(changes);
    advises.forEach(([name, value]) => next.set(name, all ? value : written(name)));
    change(next);
  };
  const names = [...new Set([...(known ?? []).map(layer => layer.name), text('--on')])].filter(Boolean);
  return (
    <form className="jc-Form" onSubmit={event => event.preventDefault()}>
      {fieldsOf(trans).map(field => (
        <label key={field.option}>
          <span>{field.label}</span>
          <input
            name={field.option}
            className="jp-mod-styled"
            value={text(field.option)}
            placeholder={field.placeholder}
            title={field.rule}
            aria-invalid={isWrong(field, text(field.option).trim())}
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
      {advises.some(([name, value]) => written(name) !== value) && (
        <label className="jc-Advised" data-value="advised">
          <input
            type="checkbox"
            checked={advises.every(([name, value]) => text(name) === value)}
            onChange={event => follow(event.target.checked)}
          />
          {trans.__('Use advised: %1', advises.map(option => option.join(' ')).join(' '))}
        </label>
      )}
      <p className="jc-Offer" role="status" data-value="offer">
        {describeOffer(text, known, trans)}
      </p>
      <code className="jc-Preview" data-value="line">
        {writeLine(source, changes).split('\n', 1)[0]}
      </code>
    </form>
  );
}

/** More than the largest machine there is, and refused everywhere. */
const beyond = (cpu: number, size: number): boolean => cpu > 896 || size > 32 * 1024 ** 4;

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
  const gpus = Number(/^(?:.*:)?(\d+)$/.exec(text('--gpu') || '0')?.[1] ?? 1);
  const fits = (offer: IOffer): boolean => offer.cpu >= cpu && offer.memory >= size && offer.gpu >= gpus;
  const price = (offer: IOffer): number => offer.usd_per_hour ?? Infinity;
  const fitting = offers.filter(fits).sort((a, b) => price(a) - price(b));
  const offer = fitting[0] ?? [...offers].sort((a, b) => b.cpu - a.cpu)[0];
  const facts = [number(offer.cpu, 2), memory(offer.memory), money(offer.usd_per_hour)];
  if (on === 'local' && fitting.length === 0 && offer.gpu >= gpus && !beyond(cpu, size)) {
    return trans.__('This computer has %1 CPUs, %2: it would run with what there is.', ...facts);
  }
  return fitting.length
    ? trans.__('%1: %2 CPUs, %3, %4/h', offer.type, ...facts)
    : trans.__('No offer is large enough; the largest is %1: %2 CPUs, %3, %4/h', offer.type, ...facts);
}

function isWrong(field: IField, text: string): boolean {
  return text !== '' && !/[{$]/.test(text) && !field.pattern.test(text);
}

function bytesOf(size: string): number {
  const found = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)/i.exec(size);
  const power = found ? ' kmgt'.indexOf(found[2].toLowerCase() || ' ') : 0;
  return found ? Number(found[1]) * (found[3] ? 1024 : 1000) ** power : 0;
}
