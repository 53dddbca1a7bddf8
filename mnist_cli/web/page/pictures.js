// Paints the bytes that the program sends, in the page's own colours.

const ENLARGED = 8;

export const unpack = (text, Kind) => Kind.from(atob(text), (letter) => letter.charCodeAt(0));

const colours = (...names) => {
  const style = getComputedStyle(document.documentElement);
  return names.map((name) => {
    const number = parseInt(style.getPropertyValue(`--${name}`).trim().slice(1), 16);
    return [number >> 16, (number >> 8) & 255, number & 255];
  });
};

const mixed = (from, to, share) => from.map((value, i) => value + share * (to[i] - value));

// A function from a value, -127 to 127, to a colour, with paper for 0. Values without negative ones
// have a colour of their own.
const scale = (values) => {
  const [paper, above, below, amount] = colours('paper', 'above', 'below', 'amount');
  const up = values.some((value) => value < 0) ? above : amount;
  return (value) => mixed(paper, value < 0 ? below : up, Math.abs(value) / 127);
};

const paint = (canvas, width, height, colourAt) => {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d'), image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i += 1) {
    image.data.set([...colourAt(i % width, Math.floor(i / width)), 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
};

export const paintNothing = (canvas) => {
  const [paper] = colours('paper');
  paint(canvas, 1, 1, () => paper);
};

export const paintGrey = (canvas, values, side) => {
  paint(canvas, side, side, (x, y) => Array(3).fill(values[y * side + x]));
};

// Values around zero, under the outline of a grey picture of the same size.
export const paintSigned = (canvas, values, outlined, side) => {
  const colourOf = scale([-1, ...values]), small = new OffscreenCanvas(side, side);
  paint(small, side, side, (x, y) => colourOf(values[y * side + x]));
  canvas.width = canvas.height = side * ENLARGED;
  const context = canvas.getContext('2d');
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  context.fillStyle = getComputedStyle(canvas).getPropertyValue('--muted');
  const dark = (x, y) => x >= 0 && y >= 0 && outlined[y * side + x] > 127;
  for (let y = 0; y < side; y += 1) {
    for (let x = 0; x < side; x += 1) {
      if (dark(x, y) !== dark(x - 1, y)) context.fillRect(x * ENLARGED, y * ENLARGED, 1, ENLARGED);
      if (dark(x, y) !== dark(x, y - 1)) context.fillRect(x * ENLARGED, y * ENLARGED, ENLARGED, 1);
    }
  }
};

// Maps side by side, with lines between them, about twice as wide as high in all.
export const paintMosaic = (canvas, values, { width, height }) => {
  const area = width * height, count = values.length / area;
  const columns = Math.min(count, Math.ceil(Math.sqrt(2 * count)));
  const colourOf = scale(values), [paper, edge] = colours('paper', 'edge');
  const enlarged = Math.max(1, Math.round(2 * ENLARGED / width));
  const right = enlarged * width, bottom = enlarged * height; // where the line is
  const rows = Math.ceil(count / columns);
  paint(canvas, columns * (right + 1) - 1, rows * (bottom + 1) - 1, (x, y) => {
    const map = Math.floor(y / (bottom + 1)) * columns + Math.floor(x / (right + 1));
    const inX = x % (right + 1), inY = y % (bottom + 1);
    if (map >= count) return paper;
    if (inX === right || inY === bottom) return edge;
    return colourOf(values[map * area + Math.floor(inY / enlarged) * width + Math.floor(inX / enlarged)]);
  });
};
