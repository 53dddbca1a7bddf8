// Drawing with the keyboard: arrows move a pen that is down or up.

const WAYS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  Home: [-1, -1], PageUp: [1, -1], End: [-1, 1], PageDown: [1, 1],
};
const STEPS = 28, SMALL_STEPS = 140; // from edge to edge

export const listenToKeys = (drawing, { onPen, clear, undo }) => {
  const { canvas, side } = drawing;
  const held = new Set();
  let pen = { x: side / 2, y: side / 2, down: false };

  const show = () => {
    drawing.cursor = pen;
    drawing.paint();
    onPen(pen.down, true);
  };

  const lift = () => {
    pen = { ...pen, down: false };
    onPen(false, false);
    if (drawing.cursor) show();
  };

  const press = () => {
    pen = { ...pen, down: !pen.down };
    if (pen.down) drawing.begin(pen.x, pen.y);
    show();
  };

  // Two arrows held at once move diagonally, though the keyboard repeats only one of them.
  const move = (shift) => {
    const step = side / (shift ? SMALL_STEPS : STEPS);
    const along = (axis) => Math.sign([...held].reduce((sum, key) => sum + WAYS[key][axis], 0));
    const within = (value) => Math.min(Math.max(value, 0), side);
    pen = { ...pen, x: within(pen.x + step * along(0)), y: within(pen.y + step * along(1)) };
    if (pen.down) drawing.extend(pen.x, pen.y);
    show();
  };

  canvas.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in WAYS) {
      held.add(event.key);
      move(event.shiftKey);
    } else if (event.key === ' ' || event.key === 'Enter') {
      if (!event.repeat) press();
    } else return;
    event.preventDefault();
  });
  canvas.addEventListener('keyup', (event) => held.delete(event.key));
  canvas.addEventListener('pointerdown', lift);
  canvas.addEventListener('focus', () => { if (canvas.matches(':focus-visible')) show(); });
  canvas.addEventListener('blur', () => {
    held.clear();
    lift();
    drawing.cursor = null;
    drawing.paint();
    onPen(false, false);
  });

  document.addEventListener('keydown', (event) => {
    const undoing = event.key === 'z' && (event.ctrlKey || event.metaKey);
    if (event.key === 'Escape') clear();
    else if (undoing || event.key === 'Backspace') undo();
    else return;
    lift();
    event.preventDefault();
  });

  return { lift };
};
