// A small map of the whole picture, with the window on it: click or drag to move.
const MAP_LEAST = 34;
const minimap = byId('minimap');
const map = { left: 0, top: 0, x: 1, y: 1 };

const drawMap = () => {
  const widest = innerWidth < 800 ? 60 : 90, highest = Math.min(210, innerHeight / 4);
  const { left, top, width, height } = state.extent;
  const even = Math.min(widest / width, highest / height);
  // A long and narrow picture is stretched, so that the window on it can be held.
  Object.assign(map, { left, top, x: Math.max(even, Math.min(MAP_LEAST / width, widest / width)),
    y: Math.max(even, Math.min(MAP_LEAST / height, highest / height)) });
  const place = (value) => Math.round(value * 10) / 10;
  const path = state.rects.map(({ x, y, width: w, height: h }) => {
    const across = place(Math.max(w * map.x, 1)), along = place(Math.max(h * map.y, 1));
    return `M${place((x - left) * map.x)} ${place((y - top) * map.y)}h${across}v${along}h${-across}z`;
  });
  minimap.setAttribute('width', width * map.x);
  minimap.setAttribute('height', height * map.y);
  minimap.querySelector('path').setAttribute('d', path.join(''));
};

// Where the window is, on the map; without a map while all of the picture is in the window.
const showWindow = () => {
  if (!state.extent) return;
  const { left, top, width, height } = state.extent;
  const x = -view.x / view.k, y = -view.y / view.k;
  const across = picture.clientWidth / view.k, along = picture.clientHeight / view.k;
  const all = x <= left && y <= top && x + across >= left + width && y + along >= top + height;
  byId('map').hidden = all;
  const frame = minimap.querySelector('rect');
  const [from, to] = [Math.max(x, left), Math.min(x + across, left + width)];
  const [begin, end] = [Math.max(y, top), Math.min(y + along, top + height)];
  frame.setAttribute('x', (from - left) * map.x);
  frame.setAttribute('y', (begin - top) * map.y);
  frame.setAttribute('width', Math.max((to - from) * map.x, 3));
  frame.setAttribute('height', Math.max((end - begin) * map.y, 3));
};

const listenToMap = () => {
  const move = (event) => {
    const { x, y } = minimap.getBoundingClientRect();
    view.x = picture.clientWidth / 2 - ((event.clientX - x) / map.x + map.left) * view.k;
    view.y = picture.clientHeight / 2 - ((event.clientY - y) / map.y + map.top) * view.k;
    showView();
  };
  minimap.addEventListener('pointerdown', (event) => { minimap.setPointerCapture(event.pointerId); move(event); });
  minimap.addEventListener('pointermove', (event) => { if (event.buttons) move(event); });
};
