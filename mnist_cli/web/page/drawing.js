// The drawing: strokes as lists of points, painted at the screen's resolution, and as bytes for the
// network. Lengths are in the drawing's own pixels, not the screen's.

const trace = (context, { width, points }) => {
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(...points[0]);
  for (const point of points.length > 1 ? points.slice(1) : points) context.lineTo(...point);
  context.stroke();
};

const traceAll = (context, strokes, colour) => {
  Object.assign(context, { strokeStyle: colour, lineCap: 'round', lineJoin: 'round' });
  for (const stroke of strokes) trace(context, stroke);
};

export class Drawing {
  strokes = [];
  open = false; // whether the last stroke continues
  width = 24;
  cursor = null; // of the keyboard: { x, y, down }; null hides it

  constructor(canvas, side, onChange) {
    Object.assign(this, { canvas, side, onChange });
    this.bytesOf = new OffscreenCanvas(side, side).getContext('2d', { willReadFrequently: true });
    new ResizeObserver(() => this.paint()).observe(canvas);
  }

  get blank() {
    return this.strokes.length === 0;
  }

  begin(x, y) {
    this.open = true;
    this.strokes.push({ width: this.width, points: [[x, y]] });
    this.changed();
  }

  // Continues the last stroke; begins a new one if that has been removed.
  extend(x, y) {
    if (!this.open) return this.begin(x, y);
    this.strokes.at(-1).points.push([x, y]);
    return this.changed();
  }

  undo() {
    this.open = false;
    this.strokes.pop();
    this.changed();
  }

  clear() {
    this.open = false;
    this.strokes = [];
    this.changed();
  }

  changed() {
    this.paint();
    this.onChange();
  }

  // The position of a pointer event on the drawing.
  place(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [(event.clientX - left) * this.side / width, (event.clientY - top) * this.side / height];
  }

  // Rows of bytes, from 0 for paper to 255 for ink.
  bytes() {
    const context = this.bytesOf, side = this.side;
    context.clearRect(0, 0, side, side);
    traceAll(context, this.strokes, '#000');
    const pixels = context.getImageData(0, 0, side, side).data;
    return Uint8Array.from({ length: side * side }, (_, i) => pixels[4 * i + 3]);
  }

  paint() {
    const { canvas, side, cursor } = this;
    const size = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    if (canvas.width !== size) canvas.width = canvas.height = size;
    const context = canvas.getContext('2d');
    const style = getComputedStyle(canvas);
    context.setTransform(size / side, 0, 0, size / side, 0, 0);
    context.clearRect(0, 0, side, side);
    traceAll(context, this.strokes, style.getPropertyValue('--ink'));
    if (cursor) this.paintCursor(context, style.getPropertyValue('--accent'));
  }

  paintCursor(context, colour) {
    const { x, y, down } = this.cursor;
    Object.assign(context, { strokeStyle: colour, fillStyle: colour, lineWidth: 2 });
    context.beginPath();
    context.arc(x, y, this.width / 2, 0, 2 * Math.PI);
    context.stroke();
    if (down) context.fill();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      const from = this.width / 2 + 2, to = from + 6;
      context.beginPath();
      context.moveTo(x + dx * from, y + dy * from);
      context.lineTo(x + dx * to, y + dy * to);
      context.stroke();
    }
  }
}
