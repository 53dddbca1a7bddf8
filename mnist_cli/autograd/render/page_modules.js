// The module tree beside the graph: what went forward, and the gradient that came back.
const BLANK = { kind: '', inputs: '', outputs: '', parameters: '', activation: null, saved: '', gradient: null, weights: null };
const rows = data.modules.map((row) => ({ ...BLANK, ...row, parent: null, inner: 0 }));
const rowsAbove = [];
rows.forEach((row, i) => {
  while (rowsAbove.length && rows[rowsAbove[rowsAbove.length - 1]].depth >= row.depth) rowsAbove.pop();
  row.parent = rowsAbove[rowsAbove.length - 1] ?? null;
  if (row.parent !== null) rows[row.parent].inner += 1;
  rowsAbove.push(i);
});
const openRows = new Set();

const MODULE_COLUMNS = [
  ['in', (row) => row.inputs], ['out', (row) => row.outputs],
  ['‖grad‖ in', (row) => row.gradient], ['‖grad‖ weights', (row) => row.weights],
  ...['mean', 'std', 'zeros', 'NaN, Inf'].map((name, i) => [name, (row) => row.activation?.[i] ?? '']),
  ['kept', (row) => row.saved], ['parameters', (row) => row.parameters],
];

// A module's name within the call around it.
const shortName = (row) => {
  const around = row.parent === null ? '' : rows[row.parent].path;
  const name = around && row.path.startsWith(`${around}.`) ? row.path.slice(around.length + 1) : row.path;
  return (name || 'model') + (row.call ? ` · call ${row.call + 1}` : '');
};

const isListed = (row) => {
  for (let p = row.parent; p !== null; p = rows[p].parent) if (!openRows.has(p)) return false;
  return true;
};

const showModules = () => {
  const columns = MODULE_COLUMNS.filter(([, cell]) => rows.some((row) => text(cell(row))));
  const head = ['module', ...columns.map(([name]) => name)].map((name) => htmlElement('th', { scope: 'col' }, name));
  const body = rows.flatMap((row, i) => (isListed(row) ? [moduleRow(row, i, columns)] : []));
  byId('modules').replaceChildren(htmlElement('table', {}, htmlElement('thead', {}, htmlElement('tr', {}, ...head)),
    htmlElement('tbody', {}, ...body)));
};

const moduleRow = (row, i, columns) => {
  const name = htmlElement('td', { className: 'name' });
  name.style.paddingLeft = `${row.depth * 14}px`;
  const toggle = htmlElement('button', { className: 'opener', type: 'button', onclick: () => openRow(i) }, openRows.has(i) ? '▾' : '▸');
  toggle.setAttribute('aria-label', `${shortName(row)}: ${counted(row.inner, 'module', 'modules')} inside`);
  toggle.setAttribute('aria-expanded', openRows.has(i));
  name.append(...(row.inner ? [toggle] : [htmlElement('span', { className: 'opener' })]), moduleLink(row.path, shortName(row)),
    htmlElement('small', { className: 'quiet' }, ` ${row.kind}`));
  const cells = columns.map(([, cell]) => (Array.isArray(cell(row)) ? normCell(cell(row)) : htmlElement('td', {}, cell(row) ?? '')));
  const line = htmlElement('tr', {}, name, ...cells);
  line.dataset.row = i;
  if (row.path === state.module) line.className = 'chosen';
  if (row.activation && row.activation[3] !== '0') line.classList.add('alarm');
  return line;
};

const openRow = (i) => {
  if (openRows.has(i)) openRows.delete(i); else openRows.add(i);
  showModules();
  byId('modules').querySelector(`[data-row="${i}"] .opener`).focus();
};

// Mark a module in the tree and above the picture, whichever side it was chosen on.
const noteModule = (path) => {
  state.module = path;
  const found = path === null ? -1 : rowFor(path);
  for (let p = found < 0 ? null : rows[found].parent; p !== null; p = rows[p].parent) openRows.add(p);
  if (state.view !== 'graph') {
    showModules();
    scrollToChosen();
  }
  showCrumbs(path);
};

const scrollToChosen = () => {
  const pane = byId('modules'), row = pane.querySelector('.chosen');
  if (!row) return;
  const head = 36, { top, bottom } = row.getBoundingClientRect(), edge = pane.getBoundingClientRect();
  if (top < edge.top + head) pane.scrollTop -= edge.top + head - top;
  else if (bottom > edge.bottom - head) pane.scrollTop += bottom - edge.bottom + head;
};

// A module's row, or that of the nearest module around it that was called.
const rowFor = (path) => {
  for (let p = path; ; p = p.slice(0, Math.max(p.lastIndexOf('.'), 0))) {
    const found = rows.findIndex((row) => row.path === p);
    if (found >= 0 || !p) return found;
  }
};

const showCrumbs = (path) => {
  const parts = path ? path.split('.') : [];
  byId('crumbs').hidden = !parts.length;
  byId('crumbs').replaceChildren(moduleLink('', 'model'), ...parts.flatMap((part, i) =>
    [' › ', moduleLink(parts.slice(0, i + 1).join('.'), part)]));
};

// The modules that a module called, to go on into.
const modulesIn = (path) => {
  const at = path ? rowFor(path) : -1;
  const inner = rows.filter((row) => at >= 0 && row.parent === at && rows[at].path === path);
  const items = inner.slice(0, LISTED).map((row) => htmlElement('li', {}, moduleLink(row.path, shortName(row)), ' ',
    htmlElement('small', { className: 'quiet' }, [row.kind, row.gradient && `‖grad‖ ${row.gradient[0]}`].filter(Boolean).join(' · '))));
  return items.length ? [heading(counted(inner.length, 'module', 'modules')), htmlElement('ul', { className: 'nodes' }, ...items)] : [];
};

const showModule = (path) => {
  const ids = nodesOf(path);
  const parts = [htmlElement('h2', {}, path || 'The model')];
  const calls = rows.filter((row) => row.path === path);
  for (const row of calls.slice(0, 20)) {
    const [mean, std, zeros, bad] = row.activation ?? [];
    const facts = [['class', row.kind], ['in', row.inputs], ['out', row.outputs], ['parameters', row.parameters],
      ['kept for backward', row.saved], ['mean', mean], ['std', std], ['zeros', zeros], ['NaN, Inf', bad],
      ['‖grad‖ in', row.gradient?.[0]], ['‖grad‖ weights', row.weights?.[0]]];
    if (calls.length > 1) parts.push(heading(`Call ${row.call + 1} of ${calls.length}`));
    parts.push(definitions(facts.filter(([, value]) => value)));
  }
  const call = callOf(path);
  if (call !== null) {
    const folded = state.folded.has(call);
    parts.push(htmlElement('button', { type: 'button', onclick: () => { fold(call); showModule(path); } }, folded ? 'Open in the graph' : 'Fold in the graph'));
  }
  parts.push(...modulesIn(path), heading(`${counted(ids.length, 'node', 'nodes')}, in the forward pass's order`), ...listOf(inForwardOrder(ids)));
  byId('node').replaceChildren(...parts);
};

const selectModule = (path) => {
  choose(null);
  noteModule(path);
  const call = callOf(path), ids = call === null && path ? nodesOf(path) : [];
  if (call !== null) openAround(around(call).slice(0, -1));
  else if (ids.length) reveal(ids[ids.length - 1]);
  const marked = call !== null ? [folds.get(call), frameElements[call]] : ids.map(anchorOf);
  mark('selected', new Set(marked.filter(Boolean)));
  const seen = call === null ? ids.length && anchorOf(ids[ids.length - 1])
    : state.folded.has(call) ? folds.get(call) : frameElements[call];
  if (seen && state.view !== 'modules') bringIntoView(seen);
  showNode(null);
  showTab('node');
};

const setView = (name) => {
  const before = viewNow();
  if (name === 'both' && innerHeight < 1000) byId('legend').open = false;
  state.view = name;
  document.body.dataset.view = name;
  for (const which of ['graph', 'modules', 'both']) byId(`view-${which}`).setAttribute('aria-pressed', which === name);
  if (name !== 'graph') noteModule(state.module);
  if (name !== 'modules') requestAnimationFrame(() => { if (fitted === before) refit(); else showView(); });
};
const nextView = () => rows.length && setView({ graph: 'modules', modules: 'both', both: 'graph' }[state.view]);
