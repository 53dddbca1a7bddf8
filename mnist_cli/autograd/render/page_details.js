// The panel at the side: all that is known of a node, and the table of parameters.
const FIGURES = ['shape', 'norm', 'mean', 'std', 'min', 'max', 'zeros', 'NaN', 'Inf'];

const link = (id, text) =>
  htmlElement('button', { className: 'link', type: 'button', onclick: () => choose(id) }, text ?? title(id));

const definitions = (pairs) => {
  const list = document.createElement('dl');
  for (const [term, ...content] of pairs) {
    list.append(htmlElement('dt', {}, term), htmlElement('dd', {}, ...content));
  }
  return list;
};

const figures = (stats) => {
  const list = definitions(FIGURES.map((name, i) => [name, stats[i]])
    .filter(([name, value]) => value !== undefined && !((name === 'NaN' || name === 'Inf') && value === '0')));
  list.className = 'figures';
  return list;
};

const heading = (text) => htmlElement('h3', {}, text);
const quiet = (text) => htmlElement('p', { className: 'quiet' }, text);

const sharedWith = (id, storage) => nodes.flatMap((node, other) =>
  node.saved.some((s, i) => s[4] === storage && other !== id) ? [other] : []);

const showNode = (id) => {
  const panel = byId('node');
  if (id === null && state.module !== null) { showModule(state.module); return; }
  if (id === null) {
    panel.replaceChildren(quiet('Choose a node to see its figures: click it, or move with Tab and the arrow keys.'));
    return;
  }
  const node = nodes[id];
  const parts = [htmlElement('h2', {}, node.parameter ?? node.name, ' ', htmlElement('small', {}, `#${id}`))];
  const facts = [['node', node.name]];
  if (node.module) facts.push(['module', moduleLink(node.module)]);
  if (node.sequence !== null) facts.push(['sequence', String(node.sequence)]);
  const step = data.order.indexOf(id);
  if (step >= 0) facts.push(['step', `${step + 1} of ${data.order.length}`]);
  parts.push(definitions(facts), ...receives(id), ...sends(id), ...keeps(id));
  if (node.attributes.length) parts.push(heading('Saved values'), definitions(node.attributes));
  panel.replaceChildren(...parts);
};

const receives = (id) => {
  const node = nodes[id];
  const parts = [heading('Gradient in')];
  if (users[id].length) {
    const from = users[id].flatMap(([user], i) => [i ? ', ' : '', link(user)]);
    parts.push(htmlElement('p', {}, 'from ', ...from));
  } else if (id === data.root) parts.push(quiet('the root: the backward pass begins here'));
  const count = Math.max(node.outputs.length, node.in.length);
  for (let i = 0; i < count; i += 1) {
    const [shape, dtype] = node.outputs[i] ?? ['', ''];
    if (count > 1) parts.push(quiet(`result ${i}`));
    if (shape) parts.push(quiet(`${shape} ${dtype}${node.in[i] ? '' : ': nothing recorded'}`));
    if (node.in[i]) parts.push(figures(node.in[i]));
  }
  return parts;
};

const sends = (id) => {
  const node = nodes[id];
  if (!node.next.length) return [];
  const parts = [heading('Gradient out')];
  node.next.forEach((edge, i) => {
    const where = edge ? [link(edge[0]), edge[1] ? ` (its result ${edge[1]})` : ''] : ['· needs no gradient'];
    parts.push(htmlElement('p', {}, `input ${i}: `, ...where));
    if (node.out[i]) parts.push(figures(node.out[i]));
  });
  if (!data.whole) parts.push(quiet('Of a graph of this size, the page holds the norms. All figures are in graph.json.'));
  return parts;
};

const keeps = (id) => {
  const saved = nodes[id].saved;
  if (!saved.length) return [];
  const pairs = saved.map(([slot, shape, dtype, bytes, storage]) => {
    const shared = sharedWith(id, storage);
    const others = shared.slice(0, 4).flatMap((other, i) => [i ? ', ' : ', memory shared with ', link(other, `#${other}`)]);
    const more = shared.length > 4 ? ` and ${shared.length - 4} more` : '';
    return [slot, `${shape} ${dtype}, ${bytes}`, ...others, more];
  });
  return [heading('Kept for backward'), definitions(pairs)];
};

const COLUMNS = [['name', (r) => r[0]], ['shape', (r) => r[2]], ['‖grad‖', (r) => r[3]], ['‖weight‖', (r) => r[4]],
  ['ratio', (r) => r[5]], ['zeros', (r) => r[6]], ['replay', (r) => r[7]]];
const text = (cell) => (Array.isArray(cell) ? cell[0] : cell);
const sorting = { column: -1, ascending: true };

const showParameters = () => {
  const panel = byId('parameters');
  if (!data.parameters.length) {
    panel.replaceChildren(quiet('No parameters were recorded with this graph.'));
    return;
  }
  const columns = COLUMNS.filter(([name, cell]) => name === 'name' || data.parameters.some((r) => text(cell(r))));
  const heads = columns.map(([name], i) => {
    const sorted = sorting.column === i ? (sorting.ascending ? 'ascending' : 'descending') : 'none';
    const cell = htmlElement('th', { scope: 'col' }, htmlElement('button', { type: 'button', onclick: () => sortBy(i) }, name));
    cell.setAttribute('aria-sort', sorted);
    return cell;
  });
  const rows = ordered(columns).map((row) => htmlElement('tr', {}, ...columns.map(([name, cell]) => name === 'name'
    ? htmlElement('td', { className: 'name' }, row[1] === null ? row[0] : link(row[1], row[0]))
    : htmlElement('td', {}, text(cell(row))))));
  panel.replaceChildren(htmlElement('div', { className: 'scroll' }, htmlElement('table', {},
    htmlElement('thead', {}, htmlElement('tr', {}, ...heads)), htmlElement('tbody', {}, ...rows))));
};

const ordered = (columns) => {
  if (sorting.column < 0) return data.parameters;
  const cell = columns[sorting.column][1];
  const key = (row) => { const c = cell(row); return Array.isArray(c) ? c[1] ?? -Infinity : c; };
  const sign = sorting.ascending ? 1 : -1;
  return [...data.parameters].sort((a, b) => sign * (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
};

const sortBy = (column) => {
  sorting.ascending = sorting.column === column ? !sorting.ascending : column === 0;
  sorting.column = column;
  showParameters();
  byId('parameters').querySelectorAll('th button')[column].focus();
};

// What is inside a box that stands for several nodes, with submodules to open.
const showGroup = (drawn) => {
  const ids = membersOf(drawn);
  const name = boxElements[drawn].querySelector('.name').textContent;
  byId('node').replaceChildren(htmlElement('h2', {}, name), ...modulesIn(pathOfGroup(drawn)),
    quiet(`${counted(ids.length, 'node', 'nodes')}, drawn as one box. In the order of the forward pass:`), ...listOf(ids));
};

// The innermost module around all operations of a box.
const pathOfGroup = (drawn) => commonPath(membersOf(drawn).filter((id) => !nodes[id].leaf).map((id) => nodes[id].module));
const commonPath = (paths) => paths.map((path) => path.split('.')).reduce((one, other) => {
  const differs = one.findIndex((part, i) => part !== other[i]);
  return differs < 0 ? one : one.slice(0, differs);
}, paths[0]?.split('.') ?? []).join('.');

const LISTED = 300;
const inForwardOrder = (ids) => {
  const place = new Map(data.order.map((id, step) => [id, -step]));
  return [...ids].sort((a, b) => place.get(a) - place.get(b));
};

const listOf = (ids) => {
  const items = ids.slice(0, LISTED).map((id) => htmlElement('li', {}, link(id), ' ',
    htmlElement('small', { className: 'quiet' }, [nodes[id].module, nodes[id].in[0] && `‖grad‖ ${nodes[id].in[0][1]}`].filter(Boolean).join(' · '))));
  const rest = ids.length - items.length;
  return [htmlElement('ul', { className: 'nodes' }, ...items),
    ...(rest > 0 ? [quiet(`and ${rest.toLocaleString('en')} more: search for a name, module or #id`)] : [])];
};

const showTab = (name, focus = false) => {
  for (const tab of document.querySelectorAll('[role=tab]')) {
    const on = tab.id === `tab-${name}`;
    tab.setAttribute('aria-selected', on);
    tab.tabIndex = on ? 0 : -1;
    if (on && focus) tab.focus();
    byId(tab.getAttribute('aria-controls')).hidden = !on;
  }
};
