// Drawing with mouse, pen or finger.

export const listenToPointer = (drawing) => {
  const { canvas } = drawing;
  let active = null;

  canvas.addEventListener('pointerdown', (event) => {
    if (active !== null || event.button !== 0) return;
    active = event.pointerId;
    canvas.setPointerCapture(active);
    drawing.cursor = null;
    drawing.begin(...drawing.place(event));
  });

  canvas.addEventListener('pointermove', (event) => {
    if (event.pointerId !== active) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const one of passed.length ? passed : [event]) drawing.extend(...drawing.place(one));
  });

  for (const kind of ['pointerup', 'pointercancel', 'lostpointercapture']) {
    canvas.addEventListener(kind, (event) => {
      if (event.pointerId === active) active = null;
    });
  }
};
