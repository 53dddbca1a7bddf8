// The first panel: counts, verdict, findings in words, and the gradient by module.
const moduleLink = (path, text) =>
  htmlElement('button', { className: 'link', type: 'button', onclick: () => selectModule(path) }, text ?? (path || 'the model'));

const showSummary = () => {
  const { facts, note, verdict, exact, notes, unreadable } = data.summary;
  const parts = [definitions(facts)];
  if (note) parts.push(quiet(`${note}. Click a box for the nodes inside it; search finds every node. To draw one module whole, select it before drawing.`));
  if (verdict) parts.push(heading('Replay'), htmlElement('p', { className: `verdict ${exact ? 'exact' : 'differs'}` }, verdict));
  parts.push(...notes.map(quiet), ...findings());
  if (unreadable.length) parts.push(heading('Not readable'), ...unreadable.map(quiet));
  byId('summary').replaceChildren(...parts, ...normsByModule());
};

const findings = () => {
  const { findings: found, more, recorded } = data.summary;
  if (!recorded && !found.length) return [heading('Findings'), quiet('No gradients were recorded.')];
  if (!found.length) return [heading('Findings'), htmlElement('p', { className: 'sound' }, 'None: no gradient vanishes, explodes, is missing or not finite.')];
  const kinds = [...new Set(found.map((one) => one.kind))];
  return [heading(counted(found.length + more, 'finding', 'findings')),
    ...kinds.flatMap((kind) => ofKind(found.filter((one) => one.kind === kind))),
    ...(more ? [quiet(`and ${more.toLocaleString('en')} more`)] : [])];
};

// The first findings of one kind; the rest can be opened.
const FIRST = 3;
const ofKind = (found) => {
  const list = (some) => htmlElement('ul', { className: 'findings' }, ...some.map(finding));
  const rest = found.slice(FIRST);
  return [list(found.slice(0, FIRST)), ...(rest.length
    ? [htmlElement('details', {}, htmlElement('summary', {}, `${rest.length} more of this kind`), list(rest))] : [])];
};

const finding = (one) => htmlElement('li', { className: 'finding' },
  htmlElement('p', {}, one.message),
  ...(one.advice ? [htmlElement('p', { className: 'quiet' }, one.advice)] : []),
  htmlElement('p', {}, ...[one.node !== null && link(one.node), one.module && moduleLink(one.module)]
    .filter(Boolean).flatMap((where, i) => (i ? [' · ', where] : [where]))));

const swatch = (level) => {
  const svg = svgElement('svg', { class: 'drawing swatch', width: 10, height: 10, 'aria-hidden': 'true' });
  svgElement('circle', { class: `dot ${level}`, cx: 5, cy: 5, r: 4 }, svg);
  return svg;
};
const normCell = (norm) => htmlElement('td', {}, ...(norm ? [norm[0], ' ', swatch(norm[1])] : []));

// The modules of the outermost level that has several.
const normsByModule = () => {
  const rows = data.modules.filter((row) => row.gradient || row.weights);
  const depths = [...new Set(rows.map((row) => row.depth))].sort((a, b) => a - b);
  const depth = depths.find((d) => rows.filter((row) => row.depth === d).length > 1);
  const shown = rows.filter((row) => row.depth === depth).slice(0, 60);
  if (!shown.length) return [];
  const head = ['module', '‖grad‖ in', '‖grad‖ weights'].map((name) => htmlElement('th', { scope: 'col' }, name));
  const body = shown.map((row) => htmlElement('tr', {}, htmlElement('td', { className: 'name' }, moduleLink(row.path)),
    normCell(row.gradient), normCell(row.weights)));
  return [heading('Gradient by module'), htmlElement('table', {}, htmlElement('thead', {}, htmlElement('tr', {}, ...head)),
    htmlElement('tbody', {}, ...body))];
};
