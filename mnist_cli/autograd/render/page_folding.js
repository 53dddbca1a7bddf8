// Folding: a folded call becomes one small box, and the room that it leaves is closed.
//
// Nothing is laid out anew. Each axis keeps its order and only the stretches that a folded call
// has freed, and that nothing else occupies, are squeezed; so no two boxes can come to overlap.
const SQUEEZED = 6;
const FOLD_HEIGHT = 46, ALIKE_HEIGHT = 16;
const folds = new Map();

const foldWidth = (frame) =>
  Math.min(frame.width, Math.max(150, 8.2 * frame.title.length + 44, 6.6 * frame.summary.length + 28));

// Where a folded call's box stands before anything is squeezed: in line with what goes through it.
const foldBox = (call) => {
  const frame = frames[call];
  const width = foldWidth(frame);
  const height = Math.min(FOLD_HEIGHT + (frame.alike ? ALIKE_HEIGHT : 0), frame.height);
  const axis = down ? 0 : 1;
  const through = wires.flatMap((wire) =>
    wire.borders.filter(([c]) => c === call).map(([, i]) => wire.points[i][axis]));
  const centre = through.length ? commonest(through)
    : (down ? frame.x + frame.width / 2 : frame.y + frame.height / 2);
  const clamp = (value, low, high) => Math.max(low, Math.min(value, Math.max(low, high)));
  const x = down ? clamp(centre - width / 2, frame.x, frame.x + frame.width - width)
    : frame.x + (frame.width - width) / 2;
  const y = down ? frame.y + (frame.height - height) / 2
    : clamp(centre - height / 2, frame.y, frame.y + frame.height - height);
  return { x, y, width, height };
};

// What goes straight through a call does so at one place, and so counts twice.
const commonest = (values) => {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0])[0][0];
};

// A monotone map of one axis: identity but for the stretches in `freed` that `taken` leaves free.
const squeeze = (freed, taken) => {
  const events = [];
  for (const [a, b] of freed) if (b > a) events.push([a, 1, 0], [b, -1, 0]);
  for (const [a, b] of taken) if (b > a) events.push([a, 0, 1], [b, 0, -1]);
  events.sort((one, other) => one[0] - other[0]);
  const cuts = [];
  let free = 0, used = 0, start = null;
  for (const [at, f, u] of events) {
    if (start !== null && at > start) cuts.push([start, at]);
    free += f; used += u;
    start = free > 0 && used === 0 ? at : null;
  }
  const joined = [];
  for (const [a, b] of cuts) {
    const last = joined[joined.length - 1];
    if (last && a - last[1] < 0.01) last[1] = b; else joined.push([a, b]);
  }
  let gone = 0;
  const steps = joined.map(([a, b]) => {
    const step = { a, b, before: gone, keep: Math.min(1, SQUEEZED / (b - a)) };
    gone += (b - a) * (1 - step.keep);
    return { ...step, after: gone };
  });
  return (value) => {
    let low = 0, high = steps.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle].a < value) low = middle + 1; else high = middle;
    }
    const step = steps[low - 1];
    if (!step) return value;
    return value >= step.b ? value - step.after
      : step.a - step.before + (value - step.a) * step.keep;
  };
};

// Where on the folded boxes' sides each wire leaves and enters: in order, a little apart.
const portsOf = (standing) => {
  const axis = down ? 0 : 1, sides = new Map();
  wires.forEach((wire, i) => {
    const from = hiddenBy(wire.source), to = hiddenBy(wire.target);
    if (from === to) return;
    for (const [call, side] of [[from, 'out'], [to, 'in']]) {
      if (call === null) continue;
      const key = `${side} ${call}`;
      const at = wire.points[borderOf(wire, call)][axis];
      if (!sides.has(key)) sides.set(key, { call, list: [] });
      sides.get(key).list.push({ key: `${side} ${i}`, at });
    }
  });
  const ports = new Map();
  for (const { call, list } of sides.values()) {
    const box = standing.get(call);
    const low = (down ? box.x : box.y) + geometry.attach, room = (down ? box.width : box.height) - 2 * geometry.attach;
    const gap = Math.min(geometry.lane, room / Math.max(list.length - 1, 1));
    list.sort((a, b) => a.at - b.at);
    let least = low;
    list.forEach(({ key, at }, i) => {
      const most = low + room - (list.length - 1 - i) * gap;
      const spot = Math.min(Math.max(at, least), most);
      ports.set(key, spot);
      least = spot + gap;
    });
  }
  return ports;
};

const borderOf = (wire, call) => wire.borders.find(([c]) => c === call)[1];

// A wire as drawn now: cut off at the borders of folded calls and led to their boxes; or null.
// The three points at a border (in the frame, on it, and at the end of its row) move to the port.
const shown = (wire, i, standing, ports) => {
  const from = hiddenBy(wire.source), to = hiddenBy(wire.target);
  if (from !== null && from === to) return null;
  const first = from === null ? 0 : borderOf(wire, from);
  const last = to === null ? wire.points.length - 1 : borderOf(wire, to);
  const points = wire.points.slice(first, last + 1).map((point) => [...point]);
  const axis = down ? 0 : 1, along = down ? 'y' : 'x', length = down ? 'height' : 'width';
  const lead = (call, side, near, place) => {
    const port = ports.get(`${side} ${i}`), box = standing.get(call);
    for (const point of near) point[axis] = port;
    const end = box[along] + (side === 'out' ? box[length] : 0);
    points[place](down ? [port, end] : [end, port]);
  };
  const middle = Math.floor(points.length / 2);
  const head = points.slice(0, Math.min(3, middle)), tail = points.slice(-Math.min(3, middle));
  if (from !== null) lead(from, 'out', head, 'unshift');
  if (to !== null) lead(to, 'in', tail, 'push');
  return points;
};

const arrange = () => {
  const standing = new Map();
  const hidden = boxes.map((_, i) => hiddenBy(i));
  const outermost = frames.map((_, c) => around(c).find((f) => state.folded.has(f)) ?? null);
  outermost.forEach((by, call) => { if (by === call) standing.set(call, foldBox(call)); });
  const ports = portsOf(standing);
  const lines = wires.map((wire, i) => shown(wire, i, standing, ports));
  const maps = axisMaps(standing, hidden, outermost, lines);
  boxElements.forEach((element, i) => {
    element.setAttribute('display', hidden[i] !== null ? 'none' : 'inline');
    if (hidden[i] === null) element.setAttribute('transform', `translate(${maps.x(boxes[i].x)} ${maps.y(boxes[i].y)})`);
  });
  frameElements.forEach((element, call) => drawFrame(element, call, outermost[call], maps));
  wireElements.forEach((element, i) => drawWire(element, lines[i], maps));
  drawFolds(standing, maps);
  state.placeOf = (box) => placed(standing.get(hidden[box]) ?? boxes[box], maps);
  state.extent = extent(hidden, outermost, standing, maps);
};

const axisMaps = (standing, hidden, outermost, lines) => {
  const axis = (at, size, pads) => {
    const freed = [], taken = [];
    for (const [call, box] of standing) {
      const frame = frames[call];
      freed.push([frame[at], frame[at] + frame[size]]);
      taken.push([box[at], box[at] + box[size]]);
    }
    boxes.forEach((box, i) => {
      if (hidden[i] === null) taken.push([box[at], box[at] + box[size]]);
    });
    frames.forEach((frame, call) => {
      if (outermost[call] !== null) return;
      const end = frame[at] + frame[size];
      taken.push([frame[at], frame[at] + pads[0]], [end - pads[1], end]);
    });
    const across = (at === 'x') === down;
    if (across) {
      const index = at === 'x' ? 0 : 1;
      for (const line of lines) {
        for (const point of line ?? []) taken.push([point[index] - 5, point[index] + 5]);
      }
    }
    return standing.size ? squeeze(freed, taken) : (value) => value;
  };
  return { x: axis('x', 'width', [geometry.pad, geometry.pad]), y: axis('y', 'height', [geometry.title, geometry.pad]) };
};

const drawFrame = (element, call, hiddenIn, maps) => {
  const frame = frames[call];
  element.setAttribute('display', hiddenIn !== null ? 'none' : 'inline');
  if (hiddenIn !== null) return;
  const left = maps.x(frame.x), top = maps.y(frame.y);
  const width = maps.x(frame.x + frame.width) - left;
  element.setAttribute('transform', `translate(${left} ${top})`);
  const ground = element.querySelector('.ground');
  ground.setAttribute('width', width);
  ground.setAttribute('height', maps.y(frame.y + frame.height) - top);
  frame.toggle?.setAttribute('transform', `translate(${frame.end ? width - 8 - frame.room : 8} 6)`);
};

const drawWire = (element, line, maps) => {
  element.setAttribute('display', line ? 'inline' : 'none');
  if (!line) return;
  const points = line.map(([x, y]) => [maps.x(x), maps.y(y)]);
  element.querySelector('path').setAttribute('d', pathOf(unflattened(points)));
  element.querySelector('.start').setAttribute('transform', `translate(${points[0].join(' ')})`);
};

// Where rows were squeezed together, a wire would run flat to the side: it bends there instead.
const unflattened = (points) => {
  const axis = down ? 1 : 0;
  const flat = (i) => Math.abs(points[i][axis] - points[i + 1][axis]) < 1
    && Math.abs(points[i][1 - axis] - points[i + 1][1 - axis]) > 1;
  const dropped = new Set();
  for (let i = 1; i + 2 < points.length; i += 1) if (flat(i)) dropped.add(i).add(i + 1);
  return points.filter((_, i) => !dropped.has(i));
};

const pathOf = ([[x, y], ...others]) => {
  let d = `M${x} ${y}`;
  for (const [nextX, nextY] of others) {
    if (Math.abs(nextX - x) < 0.01 && Math.abs(nextY - y) < 0.01) continue;
    const middle = down ? (y + nextY) / 2 : (x + nextX) / 2;
    if (Math.abs(nextX - x) < 0.01 || Math.abs(nextY - y) < 0.01) d += `L${nextX} ${nextY}`;
    else if (down) d += `C${x} ${middle} ${nextX} ${middle} ${nextX} ${nextY}`;
    else d += `C${middle} ${y} ${middle} ${nextY} ${nextX} ${nextY}`;
    [x, y] = [nextX, nextY];
  }
  return d;
};

const drawFolds = (standing, maps) => {
  for (const [call, element] of folds) if (!standing.has(call)) element.setAttribute('display', 'none');
  for (const [call, box] of standing) {
    const element = folds.get(call) ?? newFold(call, box);
    element.setAttribute('display', 'inline');
    element.setAttribute('transform', `translate(${maps.x(box.x)} ${maps.y(box.y)})`);
  }
};

const repeated = ([, place, count]) => `${place} of ${count} alike`;

const newFold = (call, box) => {
  const frame = frames[call];
  const { alike } = frame;
  const group = svgElement('g', { class: `fold${alike ? ` kin kin${alike[0] % 6}` : ''}`, 'data-fold': call, role: 'button', tabindex: 0,
    'aria-expanded': 'false', 'aria-label': `${frame.title}, ${frame.summary}, ${alike ? `${repeated(alike)}, ` : ''}folded` });
  // In the order of the calls, which is also that of the Tab key.
  const next = [...folds.keys()].filter((other) => other > call).sort((a, b) => a - b)[0];
  byId('folds').insertBefore(group, folds.get(next) ?? null);
  svgElement('rect', { class: 'card', width: box.width, height: box.height, rx: 10 }, group);
  svgElement('rect', { class: 'inner', x: 3, y: 3, width: box.width - 6, height: box.height - 6, rx: 7 }, group);
  if (alike) svgElement('rect', { class: 'stripe', x: 0, y: 9, width: 4, height: box.height - 18, rx: 2 }, group);
  svgElement('path', { d: 'M14 14l4.5 4.5L14 23' }, group);
  svgElement('text', { class: 'name', x: 27, y: 20 }, group).textContent = frame.title;
  svgElement('text', { class: 'summary', x: 27, y: 36 }, group).textContent = frame.summary;
  if (alike) svgElement('text', { class: 'summary', x: 27, y: 51 }, group).textContent = repeated(alike);
  folds.set(call, group);
  return group;
};

const placed = (rect, maps) => {
  const x = maps.x(rect.x), y = maps.y(rect.y);
  return { x, y, width: maps.x(rect.x + rect.width) - x, height: maps.y(rect.y + rect.height) - y };
};

const extent = (hidden, outermost, standing, maps) => {
  const rects = [...standing.values(), ...boxes.filter((_, i) => hidden[i] === null),
    ...frames.filter((_, c) => outermost[c] === null)];
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  state.rects = rects.map((r) => placed(r, maps));
  for (const { x, y, width, height } of state.rects) {
    left = Math.min(left, x); right = Math.max(right, x + width);
    top = Math.min(top, y); bottom = Math.max(bottom, y + height);
  }
  return rects.length ? { left, top, width: right - left, height: bottom - top }
    : { left: 0, top: 0, width: 100, height: 100 };
};
