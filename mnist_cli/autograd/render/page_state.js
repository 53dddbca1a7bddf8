// What the page knows: the graph's data, the elements drawn for it, and what is chosen.
const data = JSON.parse(document.getElementById('graph-data').textContent);
const byId = (id) => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';
const down = data.direction === 'down';
const geometry = data.geometry;

const EMPTY = { parameter: null, sequence: null, next: [], saved: [], attributes: [], in: [], out: [] };
const nodes = data.nodes.map((row) => ({ ...EMPTY, ...data.kinds[row.kind], ...row }));

// A graph too large to draw is drawn by another one, each of whose nodes stands for some of ours.
const drawnCount = data.members?.length ?? nodes.length;
const membersOf = (drawn) => data.members?.[drawn] ?? [drawn];
const drawnOf = nodes.map((_, id) => id);
data.members?.forEach((ids, drawn) => ids.forEach((id) => { drawnOf[id] = drawn; }));
const boxes = data.boxes.map(([drawn, call, x, y, width, height, again]) => {
  const members = membersOf(drawn);
  return { drawn, node: members.length === 1 ? members[0] : null, call, x, y, width, height, again };
});
const frames = data.frames.map((frame) => {
  const [x, y, width, height] = frame.rect;
  return { ...frame, x, y, width, height, foldWidth: 0 };
});
const wires = data.wires.map(([source, target, position, points, borders]) =>
  ({ source, target, position, points, borders }));

const elements = (name) => {
  const found = [];
  for (const element of document.querySelectorAll(`#view [data-${name}]`)) {
    found[Number(element.dataset[name])] = element;
  }
  return found;
};
const boxElements = elements('box');
const wireElements = elements('wire');
const frameElements = elements('frame');

const boxesOf = Array.from({ length: drawnCount }, () => []);
boxes.forEach((box, i) => boxesOf[box.drawn].push(i));
const users = nodes.map(() => []);
nodes.forEach((node, user) => node.next.forEach((edge, position) => {
  if (edge) users[edge[0]].push([user, position]);
}));

const state = { folded: new Set(), chosen: null, module: null, view: 'graph', matches: [], match: -1, step: 0, timer: 0 };

// Calls around a call, outermost first, itself included.
const around = (call) => {
  const chain = [];
  for (let c = call; c !== null; c = frames[c].parent) chain.unshift(c);
  return chain;
};

// The outermost folded call that hides a box, or null.
const hiddenBy = (box) => around(boxes[box].call).find((c) => state.folded.has(c)) ?? null;

// The first call of a module that has a frame, and the nodes of a module and those inside it.
const callOf = (path) => { const at = frames.findIndex((frame) => frame.path === path); return at < 0 ? null : at; };
const within = (module, path) => path === '' || module === path || module.startsWith(`${path}.`);
const nodesOf = (path) => nodes.flatMap((node, id) => (within(node.module, path) ? [id] : []));

const svgElement = (name, attributes, parent) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent?.append(element);
  return element;
};

const htmlElement = (name, properties, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

const title = (id) => `#${id} ${nodes[id].parameter ?? nodes[id].name}`;
const spoken = (id) => {
  const node = nodes[id];
  return [title(id), node.parameter && 'parameter',
    node.module && `module ${node.module}`].filter(Boolean).join(', ');
};
