// Choosing, folding, searching, replaying, and the keys for all of it.
const mark = (name, wanted) => {
  for (const element of document.querySelectorAll(`#view .${name}`)) {
    if (!wanted.has(element)) element.classList.remove(name);
  }
  for (const element of wanted) element?.classList.add(name);
};

const choose = (id, focus = true) => {
  state.chosen = id;
  if (id !== null) reveal(id);
  const box = id === null ? null : drawnOf[id];
  markChosen(box);
  mark('selected', new Set());
  noteModule(id === null ? null : nodes[id].module || null);
  showNode(id);
  if (id === null) return;
  showTab('node');
  bringIntoView(boxElements[box]);
  if (focus) boxElements[box].focus({ preventScroll: true });
};

const markChosen = (box) => {
  mark('chosen', new Set(box === null ? [] : boxesOf[box].map((i) => boxElements[i])));
  mark('near', new Set(box === null ? [] : wireElements.filter((_, i) =>
    boxes[wires[i].source].drawn === box || boxes[wires[i].target].drawn === box)));
  byId('view').classList.toggle('picked', box !== null);
};

// A box that stands for one node is that node; else the panel lists what is in it.
const chooseBox = (i) => {
  const { node, drawn } = boxes[i];
  if (node !== null) { choose(node); return; }
  choose(null, false);
  markChosen(drawn);
  noteModule(pathOfGroup(drawn) || null);
  showGroup(drawn);
  showTab('node');
  boxElements[drawn].focus({ preventScroll: true });
};

const setFolded = (calls) => {
  state.folded = new Set(calls);
  arrange();
  drawMap();
  if (state.ready) showWindow();
  markMatches();
  showStep();
};

const fold = (call) => {
  const next = new Set(state.folded);
  if (next.has(call)) next.delete(call); else next.add(call);
  const place = (element) => element.getBoundingClientRect();
  const before = place(next.has(call) ? frameElements[call] : folds.get(call));
  setFolded(next);
  const element = next.has(call) ? folds.get(call) : frames[call].toggle;
  const after = place(next.has(call) ? element : frameElements[call]);
  view.x += before.x + before.width / 2 - after.x - after.width / 2;
  view.y += before.y - after.y;
  showView();
  noteModule(frames[call].path);
  if (state.chosen === null) showNode(null);
  element.focus({ preventScroll: true });
};

const openAround = (calls) => {
  const hiding = calls.filter((call) => state.folded.has(call));
  if (hiding.length) setFolded([...state.folded].filter((call) => !hiding.includes(call)));
};
const reveal = (id) => openAround(around(boxes[drawnOf[id]].call));

const foldAll = () => { setFolded(frames.map((_, call) => call)); refit(); };
const unfoldAll = () => { setFolded([]); refit(); };

// ---- search

let haystacks = null;
const makeHaystacks = () => nodes.map((node, id) =>
  [`#${id}`, node.name, node.module, node.parameter ?? ''].join('\n').toLowerCase());

const search = (query) => {
  const wanted = query.trim().toLowerCase();
  const exact = /^#\d+$/.test(wanted) ? Number(wanted.slice(1)) : -1;
  if (wanted) haystacks ??= makeHaystacks();
  state.matches = !wanted ? [] : nodes.flatMap((_, id) =>
    (exact >= 0 ? id === exact : haystacks[id].includes(wanted)) ? [id] : []);
  state.match = -1;
  markMatches();
  const count = state.matches.length;
  byId('found').textContent = !wanted ? '' : count ? `${count} found` : 'none';
  byId('next-match').disabled = byId('previous-match').disabled = !count;
};

const markMatches = () => mark('match', new Set(state.matches.map(anchorOf)));

const goToMatch = (by) => {
  const count = state.matches.length;
  if (!count) return;
  state.match = state.match < 0 ? (by > 0 ? 0 : count - 1) : (state.match + by + count) % count;
  byId('found').textContent = `${state.match + 1} of ${count}`;
  choose(state.matches[state.match], false);
};

// ---- replay

const counted = (count, one, many) => `${count.toLocaleString('en')} ${count === 1 ? one : many}`;

// A step calls a node; at a parameter nothing is called, its gradient arrives there.
const arrives = (id) => (nodes[id].parameter === null ? '' : ', its gradient arrives');

const allSteps = () => {
  const ends = data.order.filter((id) => nodes[id].parameter !== null).length;
  const calls = counted(data.order.length - ends, 'call', 'calls');
  const arriving = counted(ends, 'gradient that arrives', 'gradients that arrive');
  return counted(data.order.length, 'step', 'steps') + (ends ? `: ${calls}, ${arriving}` : '');
};

const showStep = () => {
  const { step } = state;
  const playing = step > 0;
  const called = new Set(data.order.slice(0, step).map((id) => drawnOf[id]));
  const entered = new Set([...called].map(hiddenBy));
  const now = playing ? data.order[step - 1] : null;
  byId('view').classList.toggle('playing', playing);
  mark('waiting', new Set(!playing ? [] : [
    ...boxElements.filter((_, i) => !called.has(boxes[i].drawn)),
    ...wireElements.filter((_, i) => !called.has(boxes[wires[i].target].drawn)),
    ...[...folds].filter(([call]) => !entered.has(call)).map(([, element]) => element),
  ]));
  mark('now', new Set(playing ? [anchorOf(now)] : []));
  mark('flow', new Set(playing ? wireElements.filter((_, i) => boxes[wires[i].target].drawn === drawnOf[now]) : []));
  byId('slider').value = step;
  const words = playing ? `step ${step} of ${data.order.length}: ${title(now)}${arrives(now)}` : allSteps();
  byId('step').textContent = words;
  byId('slider').setAttribute('aria-valuetext', words);
  byId('back').disabled = step === 0;
  byId('forth').disabled = step === data.order.length;
};

const goToStep = (step) => {
  state.step = Math.max(0, Math.min(data.order.length, step));
  showStep();
  if (state.step) bringIntoView(anchorOf(data.order[state.step - 1]));
};

const play = (on) => {
  clearInterval(state.timer);
  state.timer = 0;
  if (on && data.order.length) {
    if (state.step === data.order.length) state.step = 0;
    const tick = () => { goToStep(state.step + 1); if (state.step === data.order.length) play(false); };
    state.timer = setInterval(tick, 1000 / Number(byId('speed').value));
    tick();
  }
  const playing = state.timer !== 0;
  byId('play').querySelector('path').setAttribute('d', playing ? 'M4 2.5h3v11H4zM9 2.5h3v11H9z' : 'M4 2.5v11L13.5 8z');
  byId('play').setAttribute('aria-pressed', playing);
  byId('play').setAttribute('aria-label', playing ? 'Pause' : 'Play');
};

// ---- keys

const forward = (id) => users[id][0]?.[0] ?? null;
const backward = (id) => nodes[id].next.find((edge) => edge)?.[0] ?? null;
const beside = (id, by) => {
  const user = forward(id);
  if (user === null) return null;
  const inputs = [...new Set(nodes[user].next.filter((edge) => edge).map((edge) => edge[0]))];
  return inputs[(inputs.indexOf(id) + by + inputs.length) % inputs.length];
};
const ARROWS = down
  ? { ArrowDown: forward, ArrowUp: backward, ArrowLeft: (id) => beside(id, -1), ArrowRight: (id) => beside(id, 1) }
  : { ArrowRight: forward, ArrowLeft: backward, ArrowUp: (id) => beside(id, -1), ArrowDown: (id) => beside(id, 1) };

const walk = (key) => {
  const next = state.chosen === null ? data.root : ARROWS[key](state.chosen);
  if (next !== null) choose(next);
};

const letGo = () => {
  if (byId('search').value) { byId('search').value = ''; search(''); }
  play(false);
  state.step = 0;
  showStep();
  choose(null);
  showTab('summary');
  document.activeElement?.blur();
};

const foldChosen = () => {
  const call = state.chosen === null ? null : boxes[drawnOf[state.chosen]].call;
  if (call !== null) fold(call);
};

const KEYS = {
  '/': () => byId('search').select(), Escape: letGo, '+': () => zoomCentre(1.25), '=': () => zoomCentre(1.25),
  '-': () => zoomCentre(0.8), 0: fit, ' ': () => play(!state.timer), '[': () => goToStep(state.step - 1),
  ']': () => goToStep(state.step + 1), f: foldChosen, F: foldChosen, '?': () => byId('keys').showModal(),
  PageUp: () => page(-1), PageDown: () => page(1), Home: () => toEnd(false), End: () => toEnd(true),
  m: () => nextView(), M: () => nextView(),
};

// Keys that scroll the panel or move a slider where one of those has the focus.
const SCROLLING = new Set(['PageUp', 'PageDown', 'Home', 'End']);

const onKey = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId('keys').open) return;
  const target = event.target;
  if (target.matches('input[type=search]')) {
    if (event.key === 'Escape') letGo();
    else if (event.key === 'Enter') goToMatch(event.shiftKey ? -1 : 1);
    return;
  }
  const pressable = target.matches('button, select, summary, input, [role=button]');
  const box = target.closest('.box');
  if (SCROLLING.has(event.key) && target.closest('aside, #modules, input, select')) return;
  if (target.matches('.fold, .toggle') && (event.key === 'Enter' || event.key === ' ')) {
    fold(Number(target.dataset.fold));
  } else if (event.key in ARROWS && nodes.length && (box || target === document.body)) walk(event.key);
  else if (event.key in KEYS && !(pressable && !box && event.key === ' ')) KEYS[event.key]();
  else return;
  event.preventDefault();
};

// ---- setting up

// The width of a title is an estimate: to measure it, the browser would lay out all text first.
const addToggles = () => frameElements.forEach((element, call) => {
  const frame = frames[call], width = frame.room;
  const label = element.querySelector('text');
  const toggle = svgElement('g', { class: 'toggle', 'data-fold': call, role: 'button', tabindex: 0,
    'aria-expanded': 'true', 'aria-label': `${frame.title}, ${frame.summary}, fold` }, element);
  svgElement('rect', { width, height: 20, rx: 6 }, toggle);
  svgElement('path', { d: 'M6 8l4 4.5L14 8' }, toggle);
  label.setAttribute('x', 20);
  label.setAttribute('y', 14);
  toggle.append(label);
  frame.toggle = toggle;
});

const addRoles = () => boxElements.forEach((element, i) => {
  const { node, drawn, again } = boxes[i];
  const words = node === null ? counted(membersOf(drawn).length, 'node', 'nodes') : spoken(node);
  element.setAttribute('role', 'button');
  element.setAttribute('tabindex', again ? -1 : 0);
  element.setAttribute('aria-label', again ? `reference to ${words}` : words);
});

const nextTheme = () => {
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  const now = document.documentElement.dataset.theme ?? (dark ? 'dark' : 'light');
  document.documentElement.dataset.theme = now === 'dark' ? 'light' : 'dark';
};

const listen = () => {
  picture.addEventListener('click', (event) => {
    if (moved > 4) return;
    const box = event.target.closest('.box'), folding = event.target.closest('.fold, .toggle');
    if (folding) fold(Number(folding.dataset.fold));
    else if (box) chooseBox(Number(box.dataset.box));
    else choose(null);
  });
  picture.addEventListener('focusin', (event) => {
    const box = event.target.closest('.box');
    const id = box && boxes[Number(box.dataset.box)].node;
    if (box && id !== null && id !== state.chosen && event.target.matches(':focus-visible')) choose(id);
  });
  const clicks = { 'fold-all': foldAll, 'unfold-all': unfoldAll, fit, 'zoom-in': () => zoomCentre(1.25),
    'zoom-out': () => zoomCentre(0.8), 'next-match': () => goToMatch(1), 'previous-match': () => goToMatch(-1),
    back: () => goToStep(state.step - 1), forth: () => goToStep(state.step + 1), play: () => play(!state.timer),
    theme: nextTheme, help: () => byId('keys').showModal(), 'close-keys': () => byId('keys').close(),
    
    'view-graph': () => setView('graph'), 'view-modules': () => setView('modules'), 'view-both': () => setView('both') };
  for (const name of TABS) clicks[`tab-${name}`] = () => showTab(name);
  for (const [id, action] of Object.entries(clicks)) byId(id).addEventListener('click', action);
  byId('search').addEventListener('input', (event) => search(event.target.value));
  byId('slider').addEventListener('input', (event) => { play(false); goToStep(Number(event.target.value)); });
  byId('speed').addEventListener('change', () => { if (state.timer) play(true); });
  document.querySelector('[role=tablist]').addEventListener('keydown', (event) => {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    event.stopPropagation();
    const at = TABS.findIndex((name) => !byId(name).hidden), by = event.key === 'ArrowLeft' ? TABS.length - 1 : 1;
    showTab(TABS[(at + by) % TABS.length], true);
  });
  document.addEventListener('keydown', onKey);
  listenToPointers();
  listenToMap();
  listenToPrinter();
};

const TABS = ['summary', 'node', 'parameters'];
const MOST_AT_FIRST = 160;

addToggles();
addRoles();
listen();
rows.forEach((row, i) => { if (row.depth === 0) openRows.add(i); });
byId('views').hidden = !rows.length;
byId('fold-all').disabled = byId('unfold-all').disabled = !frames.length;
byId('slider').max = data.order.length;
byId('empty').hidden = nodes.length > 0;
setFolded(drawnCount > MOST_AT_FIRST ? frames.map((_, call) => call) : []);
search('');
showNode(null);
showSummary();
showParameters();
byId('legend').open = innerWidth > 1120;
state.ready = true;
byId('view').classList.add('ready');
if (nodes.length) fit();
