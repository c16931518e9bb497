"""A scene's geometry against closed forms: ellipsoids, distances, noise, and what painting does at a surface."""

import numpy as np
import pytest

from kitsnb.simulation.scene import KIDNEY, Ellipsoid, Scene, rotation, signed_distance, smooth_noise


def grid(step=1.0, half=40.0):
    axis = np.arange(-half, half + step / 2, step, dtype=np.float32)
    return np.meshgrid(axis, axis, axis, indexing="ij")


def test_distance_to_a_sphere_is_exact():
    x, y, z = grid()
    sphere = Ellipsoid(np.array([3.0, -5.0, 2.0]), np.full(3, 20.0), rotation(0.3, 0.5, 0.7))
    exact = np.sqrt((x - 3) ** 2 + (y + 5) ** 2 + (z - 2) ** 2) - 20
    np.testing.assert_allclose(sphere.distance(x, y, z), exact, atol=1e-3)


def test_an_ellipsoid_has_its_volume_and_its_axes():
    x, y, z = grid()
    turned = Ellipsoid(np.zeros(3), np.array([30.0, 12.0, 20.0]), rotation(0.2, -0.6, 1.1))
    inside = turned.distance(x, y, z) < 0
    assert inside.sum() == pytest.approx(4 / 3 * np.pi * 30 * 12 * 20, rel=0.01)
    points = np.stack([x[inside], y[inside], z[inside]])
    half_axes = np.sqrt(5 * np.linalg.eigvalsh(np.cov(points)))  # a solid ellipsoid's variance is half-axis squared / 5
    np.testing.assert_allclose(half_axes, [12, 20, 30], rtol=0.02)


def test_points_lie_on_the_surface_and_normals_leave_it():
    shape = Ellipsoid(np.array([1.0, 2.0, 3.0]), np.array([30.0, 12.0, 20.0]), rotation(0.2, -0.6, 1.1))
    for direction in np.random.default_rng(0).normal(size=(20, 3)):
        point, normal = shape.point(direction)
        assert shape.distance(*point) == pytest.approx(0, abs=1e-3)
        assert np.linalg.norm(normal) == pytest.approx(1)
        assert shape.distance(*(point + 0.1 * normal)) == pytest.approx(0.1, abs=5e-3)


def test_rotation_is_orthogonal_and_right_handed():
    turn = rotation(0.3, 0.4, 0.5)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    np.testing.assert_allclose(rotation(z=np.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_smooth_noise_has_unit_variance_and_its_length():
    axes = (np.arange(0, 200, 4.0), np.arange(0, 160, 4.0), np.arange(0, 120, 4.0))
    noise = np.stack([smooth_noise(np.random.default_rng(n), axes, 12.0) for n in range(8)])
    assert noise.shape[1:] == (50, 40, 30)
    assert noise.std() == pytest.approx(1, abs=0.05)
    near = (noise[:, 1:] * noise[:, :-1]).mean()
    far = (noise[:, 12:] * noise[:, :-12]).mean()
    assert near > 0.8 and abs(far) < 0.1


def test_a_painted_surface_is_half_way_at_distance_zero():
    scene = Scene(np.random.default_rng(0), (np.arange(4.0), np.arange(5.0), np.arange(6.0)), softness=1.0)
    distance = np.full(scene.shape, 50.0, np.float32)
    distance[0], distance[1], distance[2] = -50, 0, -1e-3
    scene.paint(distance, 200.0, label=KIDNEY)
    np.testing.assert_allclose(scene.hu[:, 0, 0], [200, -400, -400, -1000], atol=1)
    assert scene.labels[:, 0, 0].tolist() == [1, 0, 1, 0]


def test_signed_distance_to_a_ball_is_near_the_exact_one():
    spacing = np.array([2.0, 1.5, 1.5])
    shape, centre = (50, 60, 60), (25, 30, 30)
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    exact = np.sqrt(sum(((axis - c) * step) ** 2 for axis, c, step in zip(axes, centre, spacing, strict=True))) - 25
    distance = signed_distance(exact <= 0, spacing)
    near = np.abs(exact) < 12
    assert np.abs(distance - exact)[near].mean() < 0.5 and np.abs(distance - exact)[near].max() < 2.5


def test_an_organ_that_the_border_cuts_has_no_surface_there():
    mask = np.zeros((20, 30, 30), bool)
    mask[:12, 8:22, 8:22] = True
    distance = signed_distance(mask, np.ones(3))
    assert distance[0, 15, 15] == pytest.approx(distance[2, 15, 15], abs=0.5)
    assert distance[0, 15, 15] < -5
