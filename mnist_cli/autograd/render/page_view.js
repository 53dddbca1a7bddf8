// The window on the picture: pan, zoom, fit.
const picture = byId('picture');
const view = { x: 0, y: 0, k: 1 };
const CLOSEST = 4, FARTHEST = 0.01, MARGIN = 28;

const showView = () => {
  byId('view').setAttribute('transform', `translate(${view.x} ${view.y}) scale(${view.k})`);
  byId('zoom').textContent = `${Math.round(view.k * 100)}%`;
  showWindow();
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

// Names are 13 units high, so that they are at least 10 pixels high from this scale on.
const READABLE = 0.8;
let fitted = '';
const viewNow = () => [view.x, view.y, view.k].join();

// Fit shows all of the picture if that can be read, else its end, the loss. Again: all of it.
const fit = () => {
  const again = fitted === viewNow();
  fitWhole();
  if (view.k < READABLE && !again) fitReadable();
  fitted = viewNow();
};

const refit = () => { fitted = ''; fit(); };

const fitWhole = () => {
  const { left, top, width, height } = state.extent;
  const beside = width * 2 < height * 3 ? besideLegend() : 0;
  const across = picture.clientWidth - beside, along = picture.clientHeight;
  view.k = Math.max(FARTHEST, Math.min(1.25, (across - 2 * MARGIN) / width, (along - 2 * MARGIN) / height));
  view.x = beside + (across - width * view.k) / 2 - left * view.k;
  view.y = (along - height * view.k) / 2 - top * view.k;
  showView();
};

// As wide (or high) as the window where that can be read, the rest is a matter of scrolling.
const fitReadable = () => {
  const { left, top, width, height } = state.extent;
  const stage = { width: picture.clientWidth, height: picture.clientHeight }, beside = down ? besideLegend() : 0;
  if (down && stage.width > 600) stage.width -= 120; // for the map
  const across = (down ? stage.width - beside : stage.height) - 2 * MARGIN, size = down ? width : height;
  view.k = Math.max(READABLE, Math.min(1, across / size));
  const whole = size * view.k <= across + 1, root = state.placeOf(drawnOf[data.root]);
  const middle = down ? (whole ? left + width / 2 : root.x + root.width / 2)
    : (whole ? top + height / 2 : root.y + root.height / 2);
  view.x = down ? beside + (stage.width - beside) / 2 - middle * view.k : stage.width - 60 - (root.x + root.width) * view.k;
  view.y = down ? stage.height - 60 - (root.y + root.height) * view.k : stage.height / 2 - middle * view.k;
  showView();
};

const scrollBy = (across, along) => { view.x -= across; view.y -= along; showView(); };
const page = (by) => (down ? scrollBy(0, by * 0.8 * picture.clientHeight) : scrollBy(by * 0.8 * picture.clientWidth, 0));
const toEnd = (last) => {
  const { left, top, width, height } = state.extent;
  if (down) view.y = last ? picture.clientHeight - MARGIN - (top + height) * view.k : MARGIN - top * view.k;
  else view.x = last ? picture.clientWidth - MARGIN - (left + width) * view.k : MARGIN - left * view.k;
  showView();
};

// The element that stands for a node now: its own box, or the folded call that hides it.
const anchorOf = (id) => standIn(drawnOf[id]);
const standIn = (box) => {
  const by = hiddenBy(box);
  return by === null ? boxElements[box] : folds.get(by);
};

// Whether the map, the legend or the module's path lies over a part of a rectangle.
const isCovered = (rect) => ['map', 'legend', 'crumbs'].some((name) => {
  const over = byId(name).getBoundingClientRect();
  return over.x < rect.right && rect.x < over.right && over.y < rect.bottom && rect.y < over.bottom;
});

const bringIntoView = (element) => {
  const stage = picture.getBoundingClientRect();
  const rect = () => element.getBoundingClientRect();
  showView();
  if (view.k < READABLE / 2) { const r = rect(); zoomAt(0.7 / view.k, r.x + r.width / 2 - stage.x, r.y + r.height / 2 - stage.y); }
  const r = rect();
  const middle = { x: r.x + r.width / 2 - stage.x, y: r.y + r.height / 2 - stage.y };
  const inside = r.x > stage.x + 20 && r.right < stage.right - 20 && r.y > stage.y + 20 && r.bottom < stage.bottom - 20;
  if (inside && !isCovered(r)) return;
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
