// The window on the picture: pan, zoom, fit.
const picture = byId('picture');
const view = { x: 0, y: 0, k: 1 };
const CLOSEST = 4, FARTHEST = 0.01, MARGIN = 28;

const showView = () => {
  byId('view').setAttribute('transform', `translate(${view.x} ${view.y}) scale(${view.k})`);
  byId('zoom').textContent = `${Math.round(view.k * 100)}%`;
};

const zoomAt = (factor, x, y) => {
  const k = Math.min(CLOSEST, Math.max(FARTHEST, view.k * factor));
  view.x = x - (x - view.x) * (k / view.k);
  view.y = y - (y - view.y) * (k / view.k);
  view.k = k;
  showView();
};

const zoomCentre = (factor) => zoomAt(factor, picture.clientWidth / 2, picture.clientHeight / 2);

// The legend's width, where there is room enough to keep the picture clear of it.
const besideLegend = () => {
  const legend = byId('legend');
  return legend.open && picture.clientWidth > 2.2 * legend.offsetWidth ? legend.offsetWidth : 0;
};

const fit = () => {
  const { left, top, width, height } = state.extent;
  const beside = width * 2 < height * 3 ? besideLegend() : 0;
  const across = picture.clientWidth - beside, along = picture.clientHeight;
  view.k = Math.max(FARTHEST, Math.min(1.25, (across - 2 * MARGIN) / width, (along - 2 * MARGIN) / height));
  view.x = beside + (across - width * view.k) / 2 - left * view.k;
  view.y = (along - height * view.k) / 2 - top * view.k;
  showView();
};

// At first a long picture is shown legibly at its end, the loss, not whole and unreadable.
const open = () => {
  fit();
  if (view.k >= 0.5) return;
  view.k = 0.8;
  showView();
  const stage = picture.getBoundingClientRect(), root = anchorOf(data.root).getBoundingClientRect();
  view.x += down ? stage.x + (stage.width + besideLegend()) / 2 - root.x - root.width / 2 : stage.right - 60 - root.right;
  view.y += down ? stage.bottom - 60 - root.bottom : stage.y + stage.height / 2 - root.y - root.height / 2;
  showView();
};

// The element that stands for a node now: its own box, or the folded call that hides it.
const anchorOf = (id) => {
  const by = hiddenBy(id);
  return by === null ? boxElements[id] : folds.get(by);
};

const bringIntoView = (element) => {
  const stage = picture.getBoundingClientRect();
  const rect = () => element.getBoundingClientRect();
  showView();
  if (view.k < 0.35) { const r = rect(); zoomAt(0.7 / view.k, r.x + r.width / 2 - stage.x, r.y + r.height / 2 - stage.y); }
  const r = rect();
  const middle = { x: r.x + r.width / 2 - stage.x, y: r.y + r.height / 2 - stage.y };
  const inside = r.x > stage.x + 20 && r.right < stage.right - 20 && r.y > stage.y + 20 && r.bottom < stage.bottom - 20;
  if (inside) return;
  view.x += stage.width / 2 - middle.x;
  view.y += stage.height / 2 - middle.y;
  showView();
};

const pointers = new Map();
let moved = 0;

const listenToPointers = () => {
  picture.addEventListener('wheel', (event) => {
    event.preventDefault();
    const { x, y } = picture.getBoundingClientRect();
    const lines = event.deltaMode === 1 ? 16 : 1;
    zoomAt(Math.exp(-event.deltaY * lines * 0.0015), event.clientX - x, event.clientY - y);
  }, { passive: false });
  picture.addEventListener('pointerdown', (event) => {
    if (pointers.size === 0) moved = 0;
    pointers.set(event.pointerId, event);
  });
  addEventListener('pointermove', (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    if (pointers.size === 2) pinch(event);
    else { view.x += event.clientX - last.clientX; view.y += event.clientY - last.clientY; showView(); }
    moved += Math.abs(event.clientX - last.clientX) + Math.abs(event.clientY - last.clientY);
    picture.classList.toggle('dragging', moved > 4);
    pointers.set(event.pointerId, event);
  });
  const release = (event) => { pointers.delete(event.pointerId); picture.classList.remove('dragging'); };
  addEventListener('pointerup', release);
  addEventListener('pointercancel', release);
};

const pinch = (event) => {
  const [other] = [...pointers.values()].filter((p) => p.pointerId !== event.pointerId);
  const last = pointers.get(event.pointerId);
  const apart = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
  const { x, y } = picture.getBoundingClientRect();
  view.x += (event.clientX - last.clientX) / 2;
  view.y += (event.clientY - last.clientY) / 2;
  zoomAt(apart(event) / Math.max(apart(last), 1),
    (event.clientX + other.clientX) / 2 - x, (event.clientY + other.clientY) / 2 - y);
};

const listenToPrinter = () => {
  addEventListener('beforeprint', () => {
    const { left, top, width, height } = state.extent;
    picture.setAttribute('viewBox', `${left - 10} ${top - 10} ${width + 20} ${height + 20}`);
    byId('view').removeAttribute('transform');
  });
  addEventListener('afterprint', () => { picture.removeAttribute('viewBox'); showView(); });
};
